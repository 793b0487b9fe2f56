-- Why were files rejected in the last 28 days?
select reason, sum(count_scan)::bigint as count_scan, max(rejected_date) as last_rejected_date
from braintumor.rejection_summary
where rejected_date > (now() at time zone 'utc')::date - 28
group by reason
order by count_scan desc, reason;
