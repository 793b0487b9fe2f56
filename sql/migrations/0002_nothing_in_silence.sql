-- What could go wrong in silence leaves a trace: a run that was never planned, a scan that ends its worker, an object
-- that S3 refuses, a verdict on a champion that is one no longer, each look at a split, an image's split by its bytes.

set local search_path = braintumor;

-- A run that was listed but never planned must not pass as one whose scans all wait for the next night.
alter table scoring_run add column planned_at timestamptz;
update scoring_run set planned_at = finished_at;
comment on column scoring_run.planned_at is 'When its pending scans were divided into chunks; null means never, and is red.';
comment on column scoring_run.count_new is
    'Of these, object versions to be settled: never seen before, or back after they were superseded or refused.';

alter table scan add column isolated_attempts integer not null default 0;
comment on column scan.isolated_attempts is
    'Times that a worker took it up alone, after one had died on its chunk; at 3 without an end it is rejected.';

-- A refused object is tried again each night, so it can be rejected by more than one run.
alter table rejection drop constraint rejection_pkey, add primary key (scan_id, scoring_run_id);
comment on table rejection is 'One row per scan and run that could not score it. What is rejected now: scan.state.';

-- Every look by name, so that a retry of the same look is not a second one.
create table test_set_access (
    evaluation_id  bigint not null references evaluation,
    access_key       text not null,
    accessed_at      timestamptz not null default now(),
    primary key (evaluation_id, access_key)
);
comment on table test_set_access is 'One row per time that a model was judged on a split, and who asked; more than 1 is said aloud.';
insert into test_set_access (evaluation_id, access_key, accessed_at)
select evaluation_id, 'look ' || number, evaluated_at
from evaluation
cross join lateral generate_series(1, count_access) as number;
alter table evaluation drop column count_access;

-- A verdict holds against one champion. One run has one candidate, judged again when the champion has changed.
alter table gate_verdict drop constraint gate_verdict_run_key_key;
alter table gate_verdict add unique nulls not distinct (run_key, champion_model_version_id);
comment on table gate_verdict is 'One row per retrain run and champion: the run''s one candidate, and what each rule said of it.';
comment on column gate_verdict.champion_model_version_id is
    'Who was champion then, null for nobody; the verdict promotes nothing once another one is.';

-- Splits by image, not by group: a decoder that changes a pixel, or a group that grows, moves nothing.
alter table snapshot_image drop constraint snapshot_image_group_key_fkey;
alter table split_assignment rename to split_of_group;
create table split_assignment (
    image_sha256  text primary key,
    pixel_sha256  text not null,
    split         split not null,
    assigned_at   timestamptz not null default now()
);
comment on table split_assignment is
    'One row per image that ever entered a snapshot, copies too: the split that it belongs to for ever.';
comment on column split_assignment.pixel_sha256 is 'Of its decoded gray pixels: the same image in another file is found by it.';
insert into split_assignment (image_sha256, pixel_sha256, split, assigned_at)
select distinct on (image_sha256) image_sha256, group_key, split_of_group.split, split_of_group.assigned_at
from snapshot_image
join split_of_group using (group_key)
order by image_sha256;
drop table split_of_group;
create index split_assignment_by_pixels on split_assignment (pixel_sha256);  -- each new image asks it
alter table snapshot_image add foreign key (image_sha256) references split_assignment;
