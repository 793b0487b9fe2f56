-- Agreement in the blind audit sample in each month.
select
    date_trunc('month', scored_at at time zone 'utc')::date::text as name,
    count(*) as count_answer,
    count(*) filter (where is_agreed) as count_same
from review_comparison
where sample = 'audit' and is_blind and scored_at > now() - make_interval(months => :months)
group by name
order by name
