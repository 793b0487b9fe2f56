-- What a training would have claimed had its split been naive, and how often each picture lay there.

set local search_path = braintumor;

alter table snapshot_image add column count_file integer not null default 1;
comment on column snapshot_image.count_file is 'Files with these pixels: a naive split would deal them out one by one.';

alter table training_run add column naive_accuracy double precision;
comment on column training_run.naive_accuracy is
    'Accuracy of the frozen stage when the files of train and validation are split at random, copies and neighbours apart.';
