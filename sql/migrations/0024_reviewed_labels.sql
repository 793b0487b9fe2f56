-- What people said of frames becomes labels: the frames as pictures of our own, what became of each in a snapshot, and
-- when new labels asked for a retrain.

set local search_path = braintumor;

create type label_source as enum ('readers', 'senior_reader', 'adjudicated');

create table reviewed_frame (
    scan_id       bigint not null references scan,
    frame_index   integer not null,
    image_sha256  text not null,
    image_uri     text not null,
    decoded_at    timestamptz not null default now(),
    stored_at     timestamptz,
    primary key (scan_id, frame_index)
);
comment on table reviewed_frame is
    'One row per frame that was decoded to be a labeled image; written before its picture is, so that no picture has no row.';
comment on column reviewed_frame.scan_id is 'The scan.';
comment on column reviewed_frame.frame_index is 'The frame''s place in its file.';
comment on column reviewed_frame.image_sha256 is 'Of its PNG.';
comment on column reviewed_frame.image_uri is 'Where its PNG lies: it shows a patient, and no name.';
comment on column reviewed_frame.decoded_at is 'When it was read, at the version that was scored.';
comment on column reviewed_frame.stored_at is 'When its PNG was written; null means not yet.';
create index reviewed_frame_by_image on reviewed_frame (image_sha256);  -- erasure asks

create table snapshot_review (
    snapshot_id    text not null references snapshot,
    scan_id        bigint not null references scan,
    frame_index    integer not null,
    label          tumor_class not null,
    label_source   label_source not null,
    count_reader   integer not null check (count_reader > 0),
    rules_version  integer not null,
    reason         text,
    primary key (snapshot_id, scan_id, frame_index)
);
comment on table snapshot_review is
    'One row per snapshot and frame whose reviews gave a label when it was taken: by what rule, and whether it is in.';
comment on column snapshot_review.snapshot_id is 'The snapshot.';
comment on column snapshot_review.scan_id is 'The scan.';
comment on column snapshot_review.frame_index is 'The frame''s place in its file.';
comment on column snapshot_review.label is 'What people said.';
comment on column snapshot_review.label_source is
    'Why that was enough: readers (so many agree as the rules ask), senior_reader (one whom the rules name), adjudicated.';
comment on column snapshot_review.count_reader is 'People whose standing answer it is, and counts under the rules.';
comment on column snapshot_review.rules_version is 'Version of the label rules.';
comment on column snapshot_review.reason is 'Why it was left out of the snapshot; null where it is in.';
create index snapshot_review_by_frame on snapshot_review (scan_id, frame_index);  -- which labels are new

create table requested_label (
    scan_id       bigint not null references scan,
    frame_index   integer not null,
    label         tumor_class not null,
    request_key   text not null check (request_key <> ''),
    requested_at  timestamptz not null default now(),
    primary key (scan_id, frame_index, label)
);
comment on table requested_label is
    'One row per label that asked for a retrain, together with others that were new: it asks for none again.';
comment on column requested_label.scan_id is 'The scan.';
comment on column requested_label.frame_index is 'The frame''s place in its file.';
comment on column requested_label.label is 'What people said.';
comment on column requested_label.request_key is 'Names who counted, so that a retry asks once.';
comment on column requested_label.requested_at is 'When.';
create index requested_label_by_request on requested_label (request_key);  -- a retry asks
