-- The champion's predictions of scans, each with the candidate's shadow prediction of the same frame.
from prediction as before_prediction
join shadow_prediction as after_prediction using (scan_id, frame_index)
where before_prediction.model_version_id = :champion
  and after_prediction.model_version_id = :candidate
  and scan_id = any(:scans)
