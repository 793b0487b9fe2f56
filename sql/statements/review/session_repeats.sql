-- Random frames that the person has reviewed before and not repeated yet.
select scan_id, frame_index
from current_review
where reviewer = :person and reviewed_at < now() - make_interval(days => :days)
  and finding in ('glioma', 'meningioma', 'normal', 'pituitary')
  and not exists (
    select from review as repeated
    where repeated.scan_id = current_review.scan_id and repeated.frame_index = current_review.frame_index
      and repeated.reviewer = :person and repeated.purpose = 'repeat')
order by random()
limit :limit
