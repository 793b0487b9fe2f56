-- What a training would have claimed had its split been naive, and how often each picture lay there.

set local search_path = braintumor;

alter table snapshot_image add column count_file integer not null default 1;
comment on column snapshot_image.count_file is 'Files with these pixels: a naive split would deal them out one by one.';

alter table training_run add column grouped_accuracy double precision, add column naive_accuracy double precision;
comment on column training_run.grouped_accuracy is 'Accuracy of the frozen stage on the validation split.';
comment on column training_run.naive_accuracy is
    'Accuracy of the frozen stage when the files of train and validation are split at random, copies and neighbors apart.';

alter table test_prediction add column nearest_training_sha256 text, add column nearest_distance integer;
comment on column test_prediction.nearest_training_sha256 is 'The training image that this test image resembles most.';
comment on column test_prediction.nearest_distance is 'Bits of 256 that differ in their perceptual hashes, in any flip or turn.';
