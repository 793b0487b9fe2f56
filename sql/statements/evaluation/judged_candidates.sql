-- The candidates that the gate judged on one test split, or on one with enough of the same images.
-- A candidate over the budget and a copy of a known model could not pass, so they use no part of the yearly error.
with own as (
    select image_sha256, label from snapshot_image where snapshot_id = :snapshot and split = 'test'
),
same_split as (
    select snapshot_id
    from snapshot_image
    join own using (image_sha256, label)
    where split = 'test'
    group by snapshot_id
    having count(*) >= :share * (select count(*) from own)
)
select model_version_id, max(judged_at) >= now() - interval '365 days' as is_recent
from gate_verdict
join model_version using (model_version_id)
join training_run using (training_run_id)
where snapshot_id in (select snapshot_id from same_split)
  and not exists (
      select from jsonb_array_elements(gate_verdict.rules -> 'rules') as rule
      where rule ->> 'name' in ('test_split_budget', 'differs_from_champion', 'differs_from_withdrawn')
        and not (rule ->> 'passed')::boolean
  )
group by model_version_id
