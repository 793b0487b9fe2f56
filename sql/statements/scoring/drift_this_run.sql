-- Condition on a row of scoring_run: it is the run whose drift is measured.
scoring_run.scoring_run_id = :run
