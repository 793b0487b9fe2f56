-- One frame per scan of the audit sample that waits for the person, the newest scans first, for any predicted class.
-- A scan without a finding waits. A stable random order chooses its frame, and a frame with different findings comes first.
-- A scan that two persons read (`has_two_readers` of the view audited_scan) also waits for the second person, for 90 days.
select
    {% include "review/worklist_columns.sql" %}
from (select scan_id as audited_id from scan where audit_probability is not null) as audited
cross join lateral (
    (
        select frame_index as drawn_index, false as is_second
        from review_worklist
        where scan_id = audited_id
        order by is_conflict desc, md5(scan_id || '/' || frame_index)
        limit 1
    )
    union all
    select frame_index, true
    from audited_scan
    where scan_id = audited_id
      and has_two_readers and outcome = 'settled' and processed_at > now() - interval '90 days'
      and (select count(*) from audit_review where audit_review.scan_id = audited_id) = 1
      and not exists (select from review where review.scan_id = audited_id and reviewer = :person)
    order by is_second
    limit 1
) as drawn
join current_prediction as frame on scan_id = audited_id and frame_index = drawn_index
{% include "review/own_reviews.sql" %}
where (cast(:day as date) is null or (scored_at at time zone 'utc')::date = :day)
  and (cast(:model as text) is null or model_name = :model)
  and case when frame.is_conflict then not is_own_frame else is_second or not (is_own or is_found) end
order by audited_id desc
limit :count
