-- How many scans of the audit sample were drawn, read blind and settled, by month of arrival?
select month_date, count_drawn, count_read, count_settled
from braintumor.audit_progress
order by month_date;
