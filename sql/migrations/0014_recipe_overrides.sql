-- A run can set values of a recipe by hand; which ones is on record.

set local search_path = braintumor;

alter table training_run add column recipe_override jsonb not null default '{}';
comment on column training_run.recipe is 'The values that it was trained with, those set by hand among them.';
comment on column training_run.recipe_override is
    'The values that this run set by hand and that differ from the recipe''s file; {} where it was trained as written.';
