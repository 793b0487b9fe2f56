-- withdrawn_model: one row per model that is withdrawn now. Example: which models are withdrawn, and why?
-- A withdrawal is in force until the model is promoted again by an override.
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
comment on view withdrawn_model is
    'One row per model that is withdrawn now. Key: model_version_id. Example: which models are withdrawn, and why?';
comment on column withdrawn_model.model_version_id is 'The withdrawn model.';
comment on column withdrawn_model.model_name is 'Name of the withdrawn model.';
comment on column withdrawn_model.actor is 'Operator of the withdrawal.';
comment on column withdrawn_model.reason is 'Reason for the withdrawal, in the operator''s words.';
comment on column withdrawn_model.withdrawn_at is 'Time of the newest withdrawal.';

-- champion: one row, the model of the newest promotion. No row before the first promotion and after a withdrawal of that model.
-- Example: which model scores the next run, and is it an override of the gate?
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
comment on view champion is
    'One row: the model of the newest promotion. No row before the first promotion and after a withdrawal of that '
    'model. Key: model_version_id. Example: which model scores the next run?';
comment on column champion.model_version_id is 'The champion.';
comment on column champion.model_name is 'Name of the champion.';
comment on column champion.action is 'promote or rollback.';
comment on column champion.actor is 'Operator of the promotion, or the DAG by its policy.';
comment on column champion.reason is 'Reason for the promotion, in the operator''s words.';
comment on column champion.is_override is 'Whether it was promoted without a passed gate or after a withdrawal.';
comment on column champion.promoted_at is 'Time when it became champion.';

-- champion_at(time): the champion at a time, or null. Example: which model was champion on 3 March?
-- Runs with the rights of its owner, because analysts can read views only.
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
    'Model version of the champion at a time; null without one. Example: champion_at(now() - interval ''7 days'').';

-- promotion_history: one row per promotion, rollback, withdrawal or pruning of a model.
-- Example: which models changed this month, by which operator and why?
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
comment on view promotion_history is
    'One row per promotion, rollback, withdrawal or pruning of a model. Key: model_version_id, action, acted_at. '
    'Example: which models changed this month, by which operator and why?';
comment on column promotion_history.model_version_id is 'The model.';
comment on column promotion_history.model_name is 'Name of the model.';
comment on column promotion_history.action is 'promote, rollback, withdraw or prune.';
comment on column promotion_history.is_override is
    'Whether a promotion or rollback was an override; false for other actions.';
comment on column promotion_history.actor is 'Operator, or the DAG by its policy.';
comment on column promotion_history.reason is 'Reason for the action, in the operator''s words.';
comment on column promotion_history.acted_at is 'Time of the action.';

-- model_status: one row per model version. Example: which models are or were champion, and which are withdrawn?
create view model_status as
with last_promotion as (
    select distinct on (model_version_id) model_version_id, is_override
    from promotion
    order by model_version_id, promotion_id desc
)
select
    model_version.model_version_id,
    model_version.model_name,
    model_version.model_version_id is not distinct from (select model_version_id from champion) as is_champion,
    last_promotion.model_version_id is not null as has_been_champion,
    coalesce(last_promotion.is_override, false) as is_override,
    withdrawn_model.reason as withdrawal_reason,
    withdrawn_model.withdrawn_at,
    pruning.pruned_at
from model_version
left join last_promotion using (model_version_id)
left join withdrawn_model using (model_version_id)
left join pruning using (model_version_id);
comment on view model_status is
    'One row per model version: whether it is or was champion, is withdrawn or has deleted files. Key: '
    'model_version_id. Example: which models are withdrawn?';
comment on column model_status.model_version_id is 'The model.';
comment on column model_status.model_name is 'Name of the model.';
comment on column model_status.is_champion is 'Whether it is the champion now.';
comment on column model_status.has_been_champion is 'Whether it is or was champion.';
comment on column model_status.is_override is 'Whether its last promotion was an override; false without one.';
comment on column model_status.withdrawal_reason is 'Reason of the withdrawal in force; null without one.';
comment on column model_status.withdrawn_at is 'Time of the withdrawal in force; null without one.';
comment on column model_status.pruned_at is 'Time when its files were deleted; null if they were not.';
