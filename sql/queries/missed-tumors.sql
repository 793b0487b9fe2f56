-- For which frames did the model predict normal and reviewers find something else?
select scan_id, frame_index, model_name, confidence, finding, sample, is_blind
from braintumor.review_comparison
where predicted_class = 'normal' and finding <> 'normal'
order by confidence desc, scan_id, frame_index;
