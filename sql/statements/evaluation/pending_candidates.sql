-- The passed candidates that were compared with the champion and have no decision.
select run_key, model_name, judged_at
from gate_verdict
join model_version using (model_version_id)
where is_passed
  and champion_model_version_id is not distinct from (select model_version_id from champion)
  and not exists (select from approval_decision where gate_verdict_id = gate_verdict.gate_verdict_id)
  and not exists (select from promotion where gate_verdict_id = gate_verdict.gate_verdict_id)
order by gate_verdict_id desc
