-- Columns of an item of the worklist.
scan_id, frame_index, predicted_class::text as predicted_class, prediction_set::text[] as prediction_set, confidence,
array_remove(review_reasons, 'audit_sample') as reasons, model_name, scored_at
