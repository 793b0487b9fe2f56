-- What each image of a snapshot resembles, and what its answers can be sliced by.

set local search_path = braintumor;

alter table snapshot_image
    add column pixel_sha256 text,
    add column perceptual_hash bytea not null default '',
    add column attributes jsonb not null default '{}';
update snapshot_image set pixel_sha256 = group_key;
alter table snapshot_image alter column pixel_sha256 set not null;
comment on column snapshot_image.pixel_sha256 is 'Of its decoded gray pixels.';
comment on column snapshot_image.perceptual_hash is
    '256-bit DCT hash of the image in its eight flips and turns; empty in snapshots of before it was kept.';
comment on column snapshot_image.group_key is 'Equal for images of one snapshot that are near one another, or of one patient.';
comment on column snapshot_image.attributes is 'What answers can be sliced by: source folder, format, color, size.';
