-- Columns of an item of the worklist. The slice counts the scored frames of a file from 1. It is 0 if there is one frame.
scan_id, frame_index, predicted_class::text as predicted_class, prediction_set::text[] as prediction_set, confidence,
array_remove(review_reasons, 'audit_sample') as reasons, model_name, scored_at, frame.is_conflict,
(select count(distinct earlier.frame_index) from prediction as earlier join scan using (scan_id)
 where earlier.scan_id = frame.scan_id and earlier.frame_index <= frame.frame_index and count_frame > 1) as slice
