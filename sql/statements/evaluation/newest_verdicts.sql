-- The newest gate verdicts, one row each, with the approval decisions.
with approval as (
    select
        gate_verdict_id,
        string_agg(person || ': ' || answer, ', ' order by answered_at) as decisions,
        string_agg(answer, ', ' order by answered_at) as answers
    from approval_decision
    group by gate_verdict_id
)
select
    run_key, model_name, is_passed, summary, judged_at, coalesce(decisions, '') as decisions,
    coalesce(answers, '') as answers
from gate_verdict
join model_version using (model_version_id)
left join approval using (gate_verdict_id)
order by gate_verdict_id desc
limit :newest
