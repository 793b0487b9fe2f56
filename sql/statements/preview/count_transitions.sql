-- The number of frames for each pair of classes before and after.
{% include "preview/compared.sql" %}
select before::text, after::text, count(*) as count_frame
from compared
group by before, after, severity
order by severity, count_frame desc, before, after
