-- Condition on a scoring run: it is the run.
scoring_run.scoring_run_id = :run
