-- Facts of the snapshot that a model was trained on. An erasure deletes images of a snapshot and keeps its row.
select
    snapshot_id,
    source_uri as taken_from,
    created_at as taken_at,
    count_image,
    count_copy as count_file_merged,
    count_image - (
        select count(*) from snapshot_image where snapshot_image.snapshot_id = snapshot.snapshot_id
    ) as count_image_erased_later
from snapshot
where snapshot_id = :snapshot
