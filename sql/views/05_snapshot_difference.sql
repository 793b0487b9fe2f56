-- snapshot_difference(before, after): one row per image that differs between two snapshots.
-- Example: which images did this week's data add to training?
create function snapshot_difference(before text, after text)
returns table (image_sha256 text, change text, split split, label_before tumor_class, label_after tumor_class)
language sql stable security definer set search_path = braintumor, pg_temp as $$
    with old_image as (
        select image_sha256, label, split from snapshot_image where snapshot_id = before
    ),
    new_image as (
        select image_sha256, label, split from snapshot_image where snapshot_id = after
    )
    select
        image_sha256,
        case
            when old_image.label is null then 'added'
            when new_image.label is null then 'removed'
            when old_image.label <> new_image.label then 'relabeled'
            else 'moved'
        end as change,
        coalesce(new_image.split, old_image.split) as split,
        old_image.label as label_before,
        new_image.label as label_after
    from old_image
    full join new_image using (image_sha256)
    where old_image.label is distinct from new_image.label
       or old_image.split is distinct from new_image.split
$$;
comment on function snapshot_difference(text, text) is
    'One row per image that differs between two snapshots: added, removed, relabeled or moved to another split.';
