-- Which frames do people see differently, and who says what?
select scan_id, frame_index, reviewer, standing_review.finding, standing_review.reviewed_at
from braintumor.frame_verdict
join braintumor.standing_review using (scan_id, frame_index)
where is_conflict
order by scan_id, frame_index, reviewer;
