-- Which studies have a frame that looks like a tumor, and which frame is it?
select study_pseudonym, predicted_class, count_frame, max_tumor_probability, max_tumor_scan_id, max_tumor_frame_index
from braintumor.study_prediction
where max_tumor_probability > 0.5
order by max_tumor_probability desc, study_pseudonym;
