-- The last scoring runs with the counts of their reports.
select
    scoring_run.scoring_run_id,
    run_key,
    (started_at at time zone 'utc')::date as day,
    state::text as state,
    coalesce(level::text, '') as level,
    coalesce(count_scored, 0) as count_scored,
    coalesce(count_rejected, 0) as count_rejected,
    coalesce(count_deferred, 0) as count_deferred,
    coalesce(count_unaccounted, 0) as count_unaccounted,
    coalesce(drift, '[]'::jsonb) as drift
from scoring_run
left join scoring_run_summary using (scoring_run_id)
where kind = 'night'
order by scoring_run.scoring_run_id desc
limit :limit
