-- champion: one row, or none before the first promotion. Example: which model scores tonight?
create view champion as
select
    promotion.model_version_id,
    model_version.model_name,
    promotion.actor,
    promotion.reason,
    promotion.is_override,
    promotion.promoted_at
from promotion
join model_version using (model_version_id)
order by promotion.promotion_id desc
limit 1;

-- champion_at(time): the model version that was live at a time, or null. Example: who answered on 3 March?
create function champion_at(at timestamptz) returns bigint language sql stable as $$
    select model_version_id
    from braintumor.promotion
    where promoted_at <= at
    order by promotion_id desc
    limit 1
$$;
