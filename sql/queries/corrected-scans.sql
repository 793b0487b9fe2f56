-- Which frames did reviewers correct, and with which finding?
select scan_id, frame_index, model_name, predicted_class, confidence, finding, count_reviewer, reviewed_at
from braintumor.review_comparison
where not is_agreed
order by reviewed_at desc, scan_id, frame_index;
