-- Which file a training began with.

set local search_path = braintumor;

alter table training_run add column initial_weights_sha256 text;
comment on column training_run.initial_weights_sha256 is
    'Of the file with the initial weights; null for random ones and for those that keras.applications fetched itself.';
