-- model_slice: one row per model version, snapshot, split, attribute and value. Example: how accurate is the model for women?
-- A slice below 20 groups of images has counts but no accuracy.
create view model_slice as
select
    model_version.model_name,
    evaluation.snapshot_id,
    evaluation.split,
    evaluation_slice.attribute,
    evaluation_slice.value,
    evaluation_slice.count_image,
    evaluation_slice.count_group,
    evaluation_slice.count_correct,
    case when evaluation_slice.count_group >= 20
        then evaluation_slice.count_correct::double precision / evaluation_slice.count_image end as accuracy,
    evaluation_slice.accuracy_low,
    evaluation_slice.accuracy_high
from evaluation_slice
join evaluation using (evaluation_id)
join model_version using (model_version_id);
comment on view model_slice is
    'One row per model version, snapshot, split, attribute and value. Key: model_name, snapshot_id, split, '
    'attribute, value. Example: how accurate is the model on images of women?';
comment on column model_slice.model_name is 'Name of the model.';
comment on column model_slice.split is 'Evaluated split.';
comment on column model_slice.count_image is 'Images of the slice.';
comment on column model_slice.accuracy is
    'Share of correct predictions; null below 20 groups of images, because these are too few.';
