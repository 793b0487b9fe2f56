-- Frames with reviews, the newest first: those of the person, those with a finding, those with a class from one other
-- reviewer, or those in conflict. Conflicts that the person can decide come before conflicts with a review of the person.
-- Frames that the person reads blind are left out, and those of overwritten files.
with listed as materialized (
    select
        frame.scan_id,
        frame.frame_index,
        frame.finding::text as finding,
        own.finding::text as own_finding,
        cast(:tab as text) = 'conflict' and own.finding is not null as is_last,
        case when cast(:tab as text) = 'mine' then own.reviewed_at else last_reviewed_at end as reviewed_at
    from frame_consensus as frame
    left join current_review as own
        on own.scan_id = frame.scan_id and own.frame_index = frame.frame_index and reviewer = :person
    where case cast(:tab as text)
            when 'mine' then own.finding is not null
            when 'answered' then is_settled
            when 'second' then
                count_reviewer = 1 and not is_adjudicated and own.finding is null
                and frame.finding in ('glioma', 'meningioma', 'normal', 'pituitary')
            else frame.is_conflict
        end
      and not {% include "review/is_hidden.sql" %}
      and not {% include "review/is_replaced.sql" %}
    order by is_last, reviewed_at desc
    limit :count
)
select
    finding,
    own_finding,
    {% include "review/worklist_columns.sql" %}
from listed
join current_prediction as frame using (scan_id, frame_index)
order by is_last, reviewed_at desc, scan_id, frame_index
