-- One frame per waiting scan of the audit sample, the newest scans first, for any predicted class. A stable random
-- order chooses the frame of a scan. A frame with different findings comes first.
select
    {% include "review/worklist_columns.sql" %}
from (select scan_id as audited_id from scan where audit_probability is not null) as scan
cross join lateral (
    select *
    from review_worklist
    where scan_id = audited_id
      and (cast(:day as date) is null or (scored_at at time zone 'utc')::date = :day)
      and (cast(:model as text) is null or model_name = :model)
    order by is_conflict desc, md5(scan_id || '/' || frame_index)
    limit 1
) as frame
{% include "review/own_reviews.sql" %}
where case when frame.is_conflict then not is_own_frame else not (is_own or is_found) end
order by audited_id desc
limit :count
