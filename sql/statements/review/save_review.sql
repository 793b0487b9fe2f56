-- Stores a review. Its purpose is adjudication of different findings, the purpose in the session, audit or risk.
insert into review (request_key, review_session_id, scan_id, frame_index, model_version_id, reviewer, finding,
                    purpose, is_blind, seconds)
select
    :key, :session, :scan, :frame, :model, :person, cast(:finding as review_finding),
    case
        when exists (
            select from frame_consensus
            where frame_consensus.scan_id = scan.scan_id and frame_index = :frame and is_conflict
        ) and not exists (
            select from current_review
            where current_review.scan_id = scan.scan_id and frame_index = :frame and reviewer = :person
        ) then 'adjudication'
        else coalesce(
            (select purpose from review_session_item
             where review_session_id = :session and scan_id = :scan and frame_index = :frame),
            case when scan.audit_probability is not null and :is_blind then 'audit' else 'risk' end::review_purpose)
    end,
    :is_blind,
    cast(:seconds as real)
from scan
where scan_id = :scan
on conflict (request_key) do nothing
