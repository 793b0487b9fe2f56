-- On which frames do reviewers disagree, and what are their findings?
select scan_id, frame_index, reviewer, current_review.finding, current_review.reviewed_at
from braintumor.frame_consensus
join braintumor.current_review using (scan_id, frame_index)
where is_conflict
order by scan_id, frame_index, reviewer;
