-- New and changed objects per day: the day of the run and earlier days with runs over the same prefixes.
select
    (judged.started_at at time zone :timezone)::date
        - (earlier.started_at at time zone :timezone)::date as days_ago,
    sum(coalesce(earlier.count_new, 0) + coalesce(earlier.count_changed, 0))::integer as count_new
from scoring_run as judged
join scoring_run as earlier
    on earlier.scans_uri = judged.scans_uri
    and earlier.kind = 'night'
    and earlier.listed_at is not null
    and earlier.scoring_run_id <= judged.scoring_run_id
where judged.scoring_run_id = :run
group by days_ago
order by days_ago
limit 8
