-- The scoring runs of a model with a run status, oldest first.
select
    scoring_run_id as run,
    started_at,
    level::text as level,
    reasons,
    scoring_run.engine,
    scoring_run.count_scored,
    scoring_run.count_rejected
from run_status
join scoring_run using (scoring_run_id, started_at)
where scoring_run.model_version_id = :model and scoring_run.kind = 'night'
order by scoring_run_id
