-- The newest answer of a person on each candidate. A timeout is recorded as 'no answer' (promotion.approval.NO_PERSON).
select distinct on (model_version_id) model_version_id, answer, answered_at
from approval_decision
join gate_verdict using (gate_verdict_id)
where person <> 'no answer'
order by model_version_id, answered_at desc
