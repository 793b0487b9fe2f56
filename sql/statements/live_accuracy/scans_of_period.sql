-- The scans that the scoring runs of a model scored in the last days, reviewed or not.
select scan.scan_id, scan.patient_pseudonym, scoring_run.model_version_id
from scan
join scoring_run using (scoring_run_id)
where scan.state = 'scored'
  and scan.processed_at > now() - make_interval(days => :days)
  and scoring_run.model_version_id = :model
