-- Images by attributes of patient and scanner, in each split of a snapshot.
select
    given.attribute,
    given.value,
    count(*) filter (where split = 'train') as train,
    count(*) filter (where split = 'validation') as validation,
    count(*) filter (where split = 'test') as test
from snapshot_image
cross join jsonb_each_text(attributes) as given (attribute, value)
where snapshot_id = :snapshot and given.attribute = any(:attributes)
group by given.attribute, given.value
order by given.attribute, given.value
