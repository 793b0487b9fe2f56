-- One row per content and patient of scored scans with the same bytes. `source_id` is a scan whose predictions can
-- be copied.
with read_scan as (
    select distinct content_sha256, count_frame
    from unnest(cast(:contents as text[]), cast(:counts as integer[])) as scan (content_sha256, count_frame)
)
select
    scan.content_sha256,
    scan.patient_pseudonym,
    min(scan.scan_id) filter (where scan.count_frame = read_scan.count_frame and scan.count_frame = (
        select count(*)
        from prediction
        where prediction.scan_id = scan.scan_id
          and {% include "scoring/same_prediction.sql" %}
    )) as source_id
from read_scan
join scan using (content_sha256)
where scan.state = 'scored'
group by scan.content_sha256, scan.patient_pseudonym
order by source_id
