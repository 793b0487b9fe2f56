-- scan_prediction: one row per scan, over the current predictions of its frames (current_prediction). Example: which volumes have
-- one slice that looks like a tumor? A rescored scan has one row, so counting rows counts scans.
-- Each mean probability is over all scored frames with equal weight. The class is that of the highest mean. Most slices of a
-- head with a tumor show none, so the mean is biased to normal. max_tumor_probability, the highest 1 - probability_normal of a
-- frame, and the shares of frames by class show this. A scan of one frame has the values of that frame.
create view scan_prediction as
with combined as (
    select
        scan_id,
        min(study_pseudonym) as study_pseudonym,
        min(series_pseudonym) as series_pseudonym,
        min(patient_pseudonym) as patient_pseudonym,
        (array_agg(model_name order by scored_at desc, model_version_id desc))[1] as model_name,
        min(format) as format,
        count(*) as count_frame,
        avg(probability_glioma) as mean_glioma,
        avg(probability_meningioma) as mean_meningioma,
        avg(probability_normal) as mean_normal,
        avg(probability_pituitary) as mean_pituitary,
        avg((predicted_class = 'glioma')::int)::real as share_glioma,
        avg((predicted_class = 'meningioma')::int)::real as share_meningioma,
        avg((predicted_class = 'normal')::int)::real as share_normal,
        avg((predicted_class = 'pituitary')::int)::real as share_pituitary,
        1 - min(probability_normal) as max_tumor_probability,
        (array_agg(frame_index order by probability_normal, frame_index))[1] as max_tumor_frame_index,
        jsonb_agg(to_jsonb(review_reasons)) as reasons_by_frame,
        min(arrived_at) as arrived_at,
        max(scored_at) as scored_at
    from current_prediction
    group by scan_id
)
select
    scan_id,
    study_pseudonym,
    series_pseudonym,
    patient_pseudonym,
    model_name,
    format,
    likeliest_class(mean_glioma, mean_meningioma, mean_normal, mean_pituitary) as predicted_class,
    count_frame,
    mean_glioma,
    mean_meningioma,
    mean_normal,
    mean_pituitary,
    share_glioma,
    share_meningioma,
    share_normal,
    share_pituitary,
    max_tumor_probability,
    max_tumor_frame_index,
    distinct_reasons(reasons_by_frame) as review_reasons,
    arrived_at,
    scored_at
from combined;
comment on view scan_prediction is
    'One row per scan, over the current predictions of its frames. For review, not for diagnosis. Key: scan_id. '
    'Example: which volumes have one slice that looks like a tumor?';
comment on column scan_prediction.model_name is 'Model of the newest prediction of the scan.';
comment on column scan_prediction.predicted_class is 'Class of the highest mean probability.';
comment on column scan_prediction.count_frame is 'Frames with a current prediction.';
comment on column scan_prediction.mean_glioma is 'Mean probability of glioma over the frames.';
comment on column scan_prediction.mean_meningioma is 'Mean probability of meningioma over the frames.';
comment on column scan_prediction.mean_normal is 'Mean probability of none of the three tumors over the frames.';
comment on column scan_prediction.mean_pituitary is 'Mean probability of pituitary tumor over the frames.';
comment on column scan_prediction.share_glioma is 'Share of the frames with the predicted class glioma.';
comment on column scan_prediction.share_meningioma is 'Share of the frames with the predicted class meningioma.';
comment on column scan_prediction.share_normal is 'Share of the frames with the predicted class normal.';
comment on column scan_prediction.share_pituitary is 'Share of the frames with the predicted class pituitary.';
comment on column scan_prediction.max_tumor_probability is 'Highest 1 - probability_normal of a frame.';
comment on column scan_prediction.max_tumor_frame_index is 'Frame with max_tumor_probability.';
comment on column scan_prediction.review_reasons is 'Review reasons of any frame; empty without one.';
comment on column scan_prediction.scored_at is 'Time of the newest prediction of the scan.';

-- study_prediction: one row per study pseudonym, over current predictions. Example: which studies have a suspicious frame?
-- Frames of all scans of the study are combined as in scan_prediction, with equal weight, so a volume counts once per scored
-- frame. Scans without a study pseudonym (plain images, NIfTI) are in no row.
create view study_prediction as
with combined as (
    select
        study_pseudonym,
        min(patient_pseudonym) as patient_pseudonym,
        array_agg(distinct model_name order by model_name) as model_names,
        count(distinct scan_id) as count_scan,
        count(*) as count_frame,
        avg(probability_glioma) as mean_glioma,
        avg(probability_meningioma) as mean_meningioma,
        avg(probability_normal) as mean_normal,
        avg(probability_pituitary) as mean_pituitary,
        avg((predicted_class = 'glioma')::int)::real as share_glioma,
        avg((predicted_class = 'meningioma')::int)::real as share_meningioma,
        avg((predicted_class = 'normal')::int)::real as share_normal,
        avg((predicted_class = 'pituitary')::int)::real as share_pituitary,
        1 - min(probability_normal) as max_tumor_probability,
        (array_agg(scan_id order by probability_normal, scan_id, frame_index))[1] as max_tumor_scan_id,
        (array_agg(frame_index order by probability_normal, scan_id, frame_index))[1] as max_tumor_frame_index,
        jsonb_agg(to_jsonb(review_reasons)) as reasons_by_frame,
        max(scored_at) as scored_at
    from current_prediction
    where study_pseudonym is not null
    group by study_pseudonym
)
select
    study_pseudonym,
    patient_pseudonym,
    model_names,
    likeliest_class(mean_glioma, mean_meningioma, mean_normal, mean_pituitary) as predicted_class,
    count_scan,
    count_frame,
    mean_glioma,
    mean_meningioma,
    mean_normal,
    mean_pituitary,
    share_glioma,
    share_meningioma,
    share_normal,
    share_pituitary,
    max_tumor_probability,
    max_tumor_scan_id,
    max_tumor_frame_index,
    distinct_reasons(reasons_by_frame) as review_reasons,
    scored_at
from combined;
comment on view study_prediction is
    'One row per study pseudonym, over the current predictions of all its frames with equal weight. For review, not '
    'for diagnosis. Key: study_pseudonym. Example: which studies have a suspicious frame?';
comment on column study_prediction.model_names is 'Models of the predictions, sorted.';
comment on column study_prediction.predicted_class is 'Class of the highest mean probability.';
comment on column study_prediction.count_scan is 'Scans of the study with a current prediction.';
comment on column study_prediction.count_frame is 'Frames with a current prediction.';
comment on column study_prediction.mean_glioma is 'Mean probability of glioma over the frames.';
comment on column study_prediction.mean_meningioma is 'Mean probability of meningioma over the frames.';
comment on column study_prediction.mean_normal is 'Mean probability of none of the three tumors over the frames.';
comment on column study_prediction.mean_pituitary is 'Mean probability of pituitary tumor over the frames.';
comment on column study_prediction.share_glioma is 'Share of the frames with the predicted class glioma.';
comment on column study_prediction.share_meningioma is 'Share of the frames with the predicted class meningioma.';
comment on column study_prediction.share_normal is 'Share of the frames with the predicted class normal.';
comment on column study_prediction.share_pituitary is 'Share of the frames with the predicted class pituitary.';
comment on column study_prediction.max_tumor_probability is 'Highest 1 - probability_normal of a frame.';
comment on column study_prediction.max_tumor_scan_id is 'Scan with max_tumor_probability.';
comment on column study_prediction.max_tumor_frame_index is 'Frame of that scan with max_tumor_probability.';
comment on column study_prediction.review_reasons is 'Review reasons of any frame; empty without one.';
comment on column study_prediction.scored_at is 'Time of the newest prediction of the study.';
