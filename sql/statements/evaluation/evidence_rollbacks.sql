-- The rollbacks to a model and away from it, oldest first.
with change as (
    select *, lag(model_version_id) over (order by promotion_id) as before_model_version_id from promotion
)
select promoted_at as rolled_back_at, before.model_name as from_model, model_version.model_name as to_model, actor, reason
from change
join model_version using (model_version_id)
left join model_version as before on before.model_version_id = before_model_version_id
where action = 'rollback' and :model in (change.model_version_id, before_model_version_id)
order by promotion_id
