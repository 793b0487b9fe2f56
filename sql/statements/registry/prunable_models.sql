-- Old models whose files can be deleted: never champion or reference, never used, not approved lately, no export left.
select model_version.model_version_id
from model_version
join model_status using (model_version_id)
where not model_status.has_been_champion and pruned_at is null
  and created_at < now() - make_interval(days => :days)
  and model_version.model_version_id not in (select model_version_id from reference_model)
  and not exists (select from prediction where prediction.model_version_id = model_version.model_version_id)
  and not exists (
      select from scoring_run
      where model_version.model_version_id in (scoring_run.model_version_id, scoring_run.second_model_version_id)
  )
  and not exists (
      select from model_version as export
      join model_status as export_status using (model_version_id)
      where export.parent_model_version_id = model_version.model_version_id and export_status.pruned_at is null
  )
  and not exists (
      select from gate_verdict
      where gate_verdict.model_version_id = model_version.model_version_id and is_passed
        and judged_at >= now() - make_interval(days => greatest(:days, :days_of_approval))
  )
order by model_version_id
