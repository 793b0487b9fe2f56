-- Why were files rejected in the last 28 days?
select reason, count(distinct scan_id) as count_scan, (max(rejected_at) at time zone 'utc')::date as last_rejected_date
from braintumor.rejected_scan
where (rejected_at at time zone 'utc')::date > (now() at time zone 'utc')::date - 28
group by reason
order by count_scan desc, reason;
