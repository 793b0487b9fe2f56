-- model_slice: one row per model version, snapshot, split, attribute and value of it. Example: how does it do on women?
-- Below 20 images a slice is counted, not assessed: its accuracy is null.
create view model_slice as
select
    model_version.model_name,
    evaluation.snapshot_id,
    evaluation.split,
    evaluation_slice.attribute,
    evaluation_slice.value,
    evaluation_slice.count_image,
    evaluation_slice.count_correct,
    case when evaluation_slice.count_image >= 20
        then evaluation_slice.count_correct::double precision / evaluation_slice.count_image end as accuracy
from evaluation_slice
join evaluation using (evaluation_id)
join model_version using (model_version_id);
comment on view model_slice is
    'One row per model version, snapshot, split, attribute and value of it. Example: how does the model do on images of women?';
comment on column model_slice.accuracy is 'Share of correct answers; null below 20 images, which prove nothing.';
