-- How many frames wait for a review, by risk, and since when?
select risk_rank, risk, count(*) as count_frame, min(scored_at) as oldest_scored_at
from braintumor.review_worklist
group by risk_rank, risk
order by risk_rank;
