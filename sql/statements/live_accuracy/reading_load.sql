-- The share of the scans of the period at or above each threshold of the tumor probability, in the order of the thresholds.
-- A file of many frames counts once, with the share of its frames.
with period as (
    {% include "live_accuracy/scans_of_period.sql" %}
),
of_scan as (
    select asked.place, avg((1 - prediction.probability_normal >= asked.threshold)::integer) as share
    from period
    join prediction using (scan_id, model_version_id)
    cross join unnest(cast(:thresholds as double precision[])) with ordinality as asked (threshold, place)
    group by scan_id, asked.place
)
select avg(share)::double precision as share_read from of_scan group by place order by place
