-- Condition on `frame`, a row of review_session_item: the frame has a review in the session, which was not retracted.
-- A retracted repeat counts as reviewed: its prediction was shown, so no second review of it can be blind.
exists (
    select from review
    where review.review_session_id = frame.review_session_id and review.scan_id = frame.scan_id
      and review.frame_index = frame.frame_index
      and (frame.purpose = 'repeat' or not exists (
        select from review_retraction where review_retraction.review_id = review.review_id)))
