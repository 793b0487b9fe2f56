-- The reviews of the scan of `frame`: whether the person has reviewed the scan or the frame, and whether any reviewer
-- has named a class.
cross join lateral (
    select
        coalesce(bool_or(reviewer = :person), false) as is_own,
        coalesce(bool_or(reviewer = :person and current_review.frame_index = frame.frame_index), false)
            as is_own_frame,
        coalesce(bool_or(finding <> 'cannot_tell'), false) as is_named
    from current_review
    where current_review.scan_id = frame.scan_id
) as own_review
