-- The champion and its live accuracy: the agreement of blind reviewers with it on the audit sample.
select
    champion.model_name, champion.actor, champion.is_override, champion.promoted_at,
    live.agreement, live.agreement_low, live.agreement_high, live.count_frame
from champion
left join human_agreement as live
    on live.model_name = champion.model_name
    and live.sample = 'audit' and live.is_blind and live.predicted_class is null
