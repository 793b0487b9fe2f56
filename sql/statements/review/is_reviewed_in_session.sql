-- Condition on `item`, a row of review_session_item: the frame has a review in the session, which was not retracted.
-- A retracted repeat counts as reviewed: its prediction was shown, so no second review of it can be blind.
exists (
    select from review
    where review.review_session_id = item.review_session_id and review.scan_id = item.scan_id
      and review.frame_index = item.frame_index
      and (item.purpose = 'repeat' or not exists (
        select from review_retraction where review_retraction.review_id = review.review_id)))
