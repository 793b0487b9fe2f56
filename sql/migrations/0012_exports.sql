-- A model version can be another export of one that is there already, in fewer bits.

set local search_path = braintumor;

alter table model_version add column parent_model_version_id bigint references model_version;
comment on column model_version.parent_model_version_id is
    'The version that this one is an int8 export of; null for what a training made itself.';
