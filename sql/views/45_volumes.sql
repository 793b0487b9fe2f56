-- scan_prediction: one row per scan and model, of all its frames. Example: in which volumes does one slice look like a tumour?
-- How frames are combined: each of the four probabilities is its mean over the frames that were scored, each frame weighing
-- the same, and the class is that of the highest mean. Most slices of a head with a tumour show none, so the mean leans to
-- normal: look at max_tumor_probability, the highest 1 - probability_normal of one frame, and at the shares of frames by
-- their own class. review_reasons are those of any frame. A scan of one frame has that frame's figures.
create view scan_prediction as
with standing as (
    select distinct scan_id, model_name
    from latest_prediction
),
reason as (
    select scan_id, model_version_id, array_agg(distinct review_reason order by review_reason) as review_reasons
    from prediction
    cross join lateral unnest(review_reasons) as review_reason
    group by scan_id, model_version_id
),
combined as (
    select
        scan_id,
        model_version_id,
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
        max(scored_at) as scored_at
    from prediction
    group by scan_id, model_version_id
)
select
    combined.scan_id,
    scan.study_pseudonym,
    scan.series_pseudonym,
    scan.patient_pseudonym,
    model_version.model_name,
    scan.format,
    standing.scan_id is not null as is_standing,
    case greatest(mean_glioma, mean_meningioma, mean_normal, mean_pituitary)
        when mean_glioma then 'glioma'
        when mean_meningioma then 'meningioma'
        when mean_normal then 'normal'
        else 'pituitary'
    end::tumor_class as predicted_class,
    combined.count_frame,
    combined.mean_glioma,
    combined.mean_meningioma,
    combined.mean_normal,
    combined.mean_pituitary,
    combined.share_glioma,
    combined.share_meningioma,
    combined.share_normal,
    combined.share_pituitary,
    combined.max_tumor_probability,
    combined.max_tumor_frame_index,
    coalesce(reason.review_reasons, '{}')
        || case when withdrawn_model.model_version_id is null then '{}' else array['model_withdrawn'] end
        || case
            when exists (select from same_content_other_patient as pair where pair.scan_id = combined.scan_id)
            then array['same_content_other_patient']
            else '{}'
        end as review_reasons,
    scan.arrived_at,
    combined.scored_at
from combined
join scan using (scan_id)
join model_version using (model_version_id)
left join reason using (scan_id, model_version_id)
left join standing on standing.scan_id = combined.scan_id and standing.model_name = model_version.model_name
left join withdrawn_model on withdrawn_model.model_version_id = combined.model_version_id;
comment on view scan_prediction is
    'One row per scan and model. Class of the highest mean probability over the scored frames, each weighing the same; '
    'max_tumor_probability is the highest of one frame; review_reasons are those of any frame. For review, not for diagnosis.';

-- study_prediction: one row per study (pseudonym), of the answers that stand. Example: which studies have a suspicious frame?
-- Frames of all scans of the study are combined as in scan_prediction, each frame weighing the same, so a volume weighs as
-- many times as it has scored frames. Scans without a study pseudonym (pictures, NIfTI) are in no row.
create view study_prediction as
with frame as (
    select
        study_pseudonym,
        patient_pseudonym,
        scan_id,
        frame_index,
        model_name,
        predicted_class,
        probability_glioma,
        probability_meningioma,
        probability_normal,
        probability_pituitary,
        review_reasons,
        scored_at
    from latest_prediction
    where study_pseudonym is not null
),
reason as (
    select study_pseudonym, array_agg(distinct review_reason order by review_reason) as review_reasons
    from frame
    cross join lateral unnest(review_reasons) as review_reason
    group by study_pseudonym
),
combined as (
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
        max(scored_at) as scored_at
    from frame
    group by study_pseudonym
)
select
    combined.study_pseudonym,
    combined.patient_pseudonym,
    combined.model_names,
    case greatest(mean_glioma, mean_meningioma, mean_normal, mean_pituitary)
        when mean_glioma then 'glioma'
        when mean_meningioma then 'meningioma'
        when mean_normal then 'normal'
        else 'pituitary'
    end::tumor_class as predicted_class,
    combined.count_scan,
    combined.count_frame,
    combined.mean_glioma,
    combined.mean_meningioma,
    combined.mean_normal,
    combined.mean_pituitary,
    combined.share_glioma,
    combined.share_meningioma,
    combined.share_normal,
    combined.share_pituitary,
    combined.max_tumor_probability,
    combined.max_tumor_scan_id,
    combined.max_tumor_frame_index,
    coalesce(reason.review_reasons, '{}') as review_reasons,
    combined.scored_at
from combined
left join reason using (study_pseudonym);
comment on view study_prediction is
    'One row per study pseudonym, of the answers that stand. Class of the highest mean probability over the scored frames of '
    'all its scans, each frame weighing the same; max_tumor_probability is the highest of one frame. For review, not for '
    'diagnosis.';
