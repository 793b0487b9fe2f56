-- current_review: one row per frame and reviewer, the newest review that was not retracted. Repeats count as the newest too.
-- Example: which findings do reviewers have for scan 17?
create view current_review as
select distinct on (scan_id, frame_index, reviewer)
    review.review_id,
    review.review_session_id,
    review.scan_id,
    review.frame_index,
    review.model_version_id,
    review.reviewer,
    review.finding,
    review.purpose,
    review.is_blind,
    review.seconds,
    review.reviewed_at
from review
left join review_retraction using (review_id)
where review_retraction.review_id is null
order by scan_id, frame_index, reviewer, review_id desc;
comment on view current_review is
    'One row per frame and reviewer: the newest review that was not retracted, including repeats. Key: scan_id, '
    'frame_index, reviewer. Example: which findings do reviewers have for scan 17?';
