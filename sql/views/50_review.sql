-- current_review: one row per frame and reviewer, that person's newest answer that was not taken back.
-- Example: what do people say of scan 17?
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
    'One row per frame and reviewer: the person''s newest answer that was not taken back. Repeats are the newest answer too.';
