-- Which twenty frames are reviewed first?
select scan_id, frame_index, risk, predicted_class, confidence, review_reasons
from braintumor.worklist_page(20)
order by risk_rank, risk_rank_at_scoring, confidence, scan_id, frame_index;
