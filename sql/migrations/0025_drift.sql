-- How far a night's answers are from what is usual, kept with the night: to count it again reads all answers of weeks.

set local search_path = braintumor;

alter table scoring_run_summary add column drift jsonb not null default '[]';
comment on column scoring_run_summary.drift is
    'One object per reference (the model''s test split, its recent nights): reference, count_reference, and the population stability index of_class '
    'and of_confidence, null where either side has too few answers; empty for nights of before 0025.';
