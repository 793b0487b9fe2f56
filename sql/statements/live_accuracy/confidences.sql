-- The number of scans of the period, and mean and variance of the scans' confidence. A file of many frames counts once.
with period as (
    {% include "live_accuracy/scans_of_period.sql" %}
),
of_scan as (
    select avg(prediction.confidence)::double precision as confidence
    from period
    join prediction using (scan_id, model_version_id)
    group by scan_id
)
select count(*) as count, coalesce(avg(confidence), 0) as mean, coalesce(var_pop(confidence), 0) as variance
from of_scan
