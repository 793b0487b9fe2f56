-- Store a verdict. The first verdict of a run against one champion stays.
insert into gate_verdict
    (run_key, model_version_id, champion_model_version_id, reference_model_version_id, is_passed, rules,
     summary, count_judged, champion_optimism)
values
    (:run_key, :model, :champion,
     (select model_version_id from model_version where model_name = :reference), :is_passed,
     cast(:rules as jsonb), :summary, :count_judged, :champion_optimism)
on conflict (run_key, champion_model_version_id) do nothing
