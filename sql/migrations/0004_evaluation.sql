-- What judging a split finds beside the figures of its answers: calibration before the temperature, speed, whether the
-- marked place matters, and how groups of images fare.

set local search_path = braintumor;

alter table evaluation
    add column uncalibrated_error double precision,
    add column images_per_second double precision,
    add column measured_on text;
comment on column evaluation.uncalibrated_error is
    'Expected calibration error before temperature scaling; null where it was judged before this was kept.';
comment on column evaluation.images_per_second is 'Wall time of the served graph over the images of the split.';
comment on column evaluation.measured_on is 'Engine, processor and threads of images_per_second.';

create table evaluation_occlusion (
    evaluation_id  bigint not null references evaluation,
    hidden         text not null check (hidden in ('marked', 'elsewhere')),
    count_image    integer not null check (count_image > 0),
    count_changed  integer not null,
    mean_drop      double precision not null,
    primary key (evaluation_id, hidden)
);
comment on table evaluation_occlusion is
    'One row per evaluation on test and hidden place, of correctly classified tumor images: does hiding it change the answer?';
comment on column evaluation_occlusion.mean_drop is 'Of the predicted class''s probability; negative where it rose.';

create table evaluation_slice (
    evaluation_id  bigint not null references evaluation,
    attribute      text not null,
    value          text not null,
    count_image    integer not null check (count_image > 0),
    count_correct  integer not null,
    primary key (evaluation_id, attribute, value)
);
comment on table evaluation_slice is
    'One row per evaluation on test, attribute and value. A group of fewer than 20 images is counted, not assessed.';
