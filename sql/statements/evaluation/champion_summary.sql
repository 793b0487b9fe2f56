-- The champion and its newest live accuracy per scan.
select
    champion.model_name, champion.actor, champion.is_override, champion.promoted_at,
    live.value, live.low, live.high, live.not_assessed, live.count_settled
from champion
left join lateral (
    select value, low, high, not_assessed, count_settled
    from live_accuracy
    where live_accuracy.model_name = champion.model_name and figure = 'scan'
    order by scoring_run_id desc
    limit 1
) as live on true
