-- withdrawn_model: one row per model that is withdrawn now. Example: whose answers went back to the worklist, and why?
-- A withdrawal stands until the model is promoted again, which only an override does.
create view withdrawn_model as
select distinct on (withdrawal.model_version_id)
    withdrawal.model_version_id,
    model_version.model_name,
    withdrawal.actor,
    withdrawal.reason,
    withdrawal.withdrawn_at
from withdrawal
join model_version using (model_version_id)
where not exists (
    select from promotion
    where promotion.model_version_id = withdrawal.model_version_id
      and promotion.promotion_id > coalesce(withdrawal.after_promotion_id, 0)
)
order by withdrawal.model_version_id, withdrawal.withdrawal_id desc;

-- champion: one row; none before the first promotion, or once the newest one's model is withdrawn. Example: which model
-- scores tonight, and was the gate overridden for it?
create view champion as
with newest as (
    select model_version_id, action, actor, reason, is_override, promoted_at
    from promotion
    order by promotion_id desc
    limit 1
)
select
    newest.model_version_id,
    model_version.model_name,
    newest.action::text as action,
    newest.actor,
    newest.reason,
    newest.is_override,
    newest.promoted_at
from newest
join model_version using (model_version_id)
where newest.model_version_id not in (select model_version_id from withdrawn_model);

-- champion_at(time): the model version that was live at a time, or null. Example: who answered on 3 March?
-- Run with its owner's rights, so that who may read only views may ask it.
create function champion_at(at timestamptz) returns bigint language sql stable security definer
set search_path = braintumor, pg_temp as $$
    with newest as (
        select promotion_id, model_version_id
        from promotion
        where promoted_at <= at
        order by promotion_id desc
        limit 1
    )
    select newest.model_version_id
    from newest
    where not exists (
        select from withdrawal
        where withdrawal.model_version_id = newest.model_version_id
          and withdrawal.after_promotion_id >= newest.promotion_id
          and withdrawal.withdrawn_at <= at
    )
$$;
comment on function champion_at(timestamptz) is
    'The model version that was live at a time, null where there was none. Example: champion_at(now() - interval ''7 days'').';

-- promotion_history: one row per act on a model: promote, rollback, withdraw, prune. Example: who changed what this month, why?
create view promotion_history as
with act as (
    select promoted_at as acted_at, action::text as action, model_version_id, is_override, actor, reason from promotion
    union all
    select withdrawn_at, 'withdraw', model_version_id, false, actor, reason from withdrawal
    union all
    select pruned_at, 'prune', model_version_id, false, actor, reason from pruning
)
select
    act.model_version_id,
    model_version.model_name,
    act.action,
    act.is_override,
    act.actor,
    act.reason,
    act.acted_at
from act
join model_version using (model_version_id);

-- model_status: one row per model version. Example: which models answer, answered once, or may not answer again?
create view model_status as
with last_flip as (
    select distinct on (model_version_id) model_version_id, is_override
    from promotion
    order by model_version_id, promotion_id desc
)
select
    model_version.model_version_id,
    model_version.model_name,
    model_version.model_version_id is not distinct from (select model_version_id from champion) as is_champion,
    last_flip.model_version_id is not null as has_been_champion,
    coalesce(last_flip.is_override, false) as is_override,
    withdrawn_model.reason as withdrawal_reason,
    withdrawn_model.withdrawn_at,
    pruning.pruned_at
from model_version
left join last_flip using (model_version_id)
left join withdrawn_model using (model_version_id)
left join pruning using (model_version_id);
