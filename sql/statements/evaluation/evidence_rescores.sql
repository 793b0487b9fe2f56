-- The rescores by a model, and those that replaced its predictions, oldest first.
select
    scoring_run_id as run, asked_at, model_name as by_model, actor, reason, count_asked, count_rescored,
    count_already_scored, count_unaccounted
from rescore_balance
where model_name = :name
   or exists (
       select from rescore
       where rescore.scoring_run_id = rescore_balance.scoring_run_id and before_model_version_id = :model
   )
order by scoring_run_id
