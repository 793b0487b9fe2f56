-- How many scans of the audit sample were drawn, read blind, settled, in conflict and undecided, by month of scoring?
select
    date_trunc('month', processed_at at time zone 'utc')::date as month_date,
    count(*) as count_drawn,
    count(*) filter (where outcome <> 'unread') as count_read,
    count(*) filter (where outcome = 'settled') as count_settled,
    count(*) filter (where outcome = 'conflict') as count_conflict,
    count(*) filter (where outcome in ('undecided', 'unusable')) as count_undecided
from braintumor.audited_scan
group by month_date
order by month_date;
