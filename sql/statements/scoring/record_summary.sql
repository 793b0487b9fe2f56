-- The status of a scoring run. A second reconciliation of the run replaces it.
insert into scoring_run_summary (
    scoring_run_id, level, count_arrived, count_expected, reasons, drift, drop_evidence)
values (
    :run, cast(:level as run_level), :arrived, :expected, :reasons, cast(:drift as jsonb), :evidence)
on conflict (scoring_run_id) do update
set level = excluded.level, count_arrived = excluded.count_arrived, judged_at = now(),
    count_expected = excluded.count_expected, reasons = excluded.reasons, drift = excluded.drift,
    drop_evidence = excluded.drop_evidence
