-- Condition on a row of scoring_run: a balanced scoring run with the same prefixes and model, from the 28 days before the
-- measured run.
scoring_run.scans_uri = :uri and scoring_run.scoring_run_id < :run
    and scoring_run.kind = 'night' and scoring_run.state = 'balanced' and prediction.model_version_id = :model
    and scoring_run.started_at > (
        select started_at from scoring_run where scoring_run_id = :run) - interval '28 days'
