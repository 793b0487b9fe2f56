-- A second model that is asked beside the champion: where the two name different classes, a person should look.

set local search_path = braintumor;

alter table scoring_run add column second_model_version_id bigint references model_version;
comment on column scoring_run.second_model_version_id is
    'The model that answered beside the one that counts; null where none was asked.';

alter table prediction
    add column second_class tumor_class,
    add column second_confidence real,
    add constraint prediction_second_check check ((second_class is null) = (second_confidence is null));
comment on column prediction.second_class is
    'What the run''s second model named; where it is another class, review_reasons has model_disagreement. Null without one.';
comment on column prediction.second_confidence is 'The second model''s probability of second_class.';
