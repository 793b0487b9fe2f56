-- additive: which image the review page delivered to which reviewer, so that no answer is saved for an image that was not shown.

set local search_path = braintumor;

create table shown_image (
    request_key  text not null check (request_key <> ''),
    reviewer     text not null check (reviewer <> ''),
    scan_id      bigint not null references scan,
    frame_index  integer not null,
    shown_at     timestamptz not null default clock_timestamp(),
    primary key (request_key, reviewer, scan_id, frame_index)
);
comment on table shown_image is
    'One row per page of the review and image that was delivered to it. Without it only the answer unusable_image is saved.';
comment on column shown_image.request_key is 'The key that the page was made with. Its answer has the same key.';
comment on column shown_image.reviewer is 'The person''s user name in Airflow.';
comment on column shown_image.scan_id is 'The scan.';
comment on column shown_image.frame_index is 'The frame''s place in its file.';
comment on column shown_image.shown_at is 'When the image was delivered first.';
create index shown_image_by_scan on shown_image (scan_id);  -- an erasure deletes by scan
