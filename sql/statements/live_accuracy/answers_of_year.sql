-- The first finding of this year (UTC) on each patient or scan of the audit sample, in the order of the findings.
with first_answer as (
    select distinct on (cluster_key) scan_id, model_version_id, is_agreed, found_at
    from audited_scan
    where found_at >= date_trunc('year', now() at time zone 'utc') at time zone 'utc'
    order by cluster_key, found_at, scan_id
)
select first_answer.model_version_id, first_answer.is_agreed, tested.accuracy as test_accuracy
from first_answer
cross join lateral (
    select accuracy
    from evaluation
    where evaluation.model_version_id = first_answer.model_version_id and split = 'test'
    order by evaluated_at desc, evaluation_id desc
    limit 1
) as tested
order by found_at, scan_id
