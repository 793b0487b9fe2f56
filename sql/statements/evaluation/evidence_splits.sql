-- Images, groups of related images and classes of each split of a snapshot.
select
    split::text as split,
    count(*) as count_image,
    count(distinct group_key) as count_group,
    count(*) filter (where has_patient) as count_image_with_known_patient,
    count(distinct group_key) filter (where has_patient) as count_group_with_known_patient,
    count(*) filter (where label = 'glioma') as glioma,
    count(*) filter (where label = 'meningioma') as meningioma,
    count(*) filter (where label = 'normal') as normal,
    count(*) filter (where label = 'pituitary') as pituitary
from snapshot_image
where snapshot_id = :snapshot
group by snapshot_image.split
order by snapshot_image.split
