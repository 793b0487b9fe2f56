-- The earlier current predictions of a rescore, each with the new prediction of the same frame.
from rescore
join scoring_run using (scoring_run_id)
join prediction as before_prediction
    on before_prediction.scan_id = rescore.scan_id
    and before_prediction.model_version_id = rescore.before_model_version_id
join prediction as after_prediction
    on after_prediction.scan_id = rescore.scan_id
    and after_prediction.frame_index = before_prediction.frame_index
    and after_prediction.model_version_id = scoring_run.model_version_id
where rescore.scoring_run_id = :run and rescore.state in ('rescored', 'already_scored')
