-- The reviews of the scan of `frame`: whether the person has judged an image of the scan, or reviewed the frame, and
-- whether any reviewer has a finding. An unusable image says nothing about the other frames of its file.
cross join lateral (
    select
        coalesce(bool_or(reviewer = :person and finding <> 'unusable_image'), false) as is_own,
        coalesce(bool_or(reviewer = :person and current_review.frame_index = frame.frame_index), false)
            as is_own_frame,
        coalesce(bool_or(finding <> 'cannot_tell'), false) as is_found
    from current_review
    where current_review.scan_id = frame.scan_id
) as own_review
