-- scan_prediction: one row per scan, of the current answers to its frames (current_prediction). Example: which volumes have one
-- slice that looks like a tumor? A scan that was rescored has one row, so that counting rows counts scans.
-- The view combines frames like this. Each of the four probabilities is its mean over the scored frames, and each frame weighs
-- the same. The class is that of the highest mean. Most slices of a head with a tumor show none, so the mean leans to normal:
-- look at max_tumor_probability, the highest 1 - probability_normal of one frame, and at the shares of frames by their own
-- class. review_reasons are those of any frame. A scan of one frame has that frame's figures.
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
    true as is_standing,
    case greatest(mean_glioma, mean_meningioma, mean_normal, mean_pituitary)
        when mean_glioma then 'glioma'
        when mean_meningioma then 'meningioma'
        when mean_normal then 'normal'
        else 'pituitary'
    end::tumor_class as predicted_class,
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
    array(
        select distinct reason
        from jsonb_array_elements(reasons_by_frame) as of_frame
        cross join jsonb_array_elements_text(of_frame) as reason
        order by reason
    ) as review_reasons,
    arrived_at,
    scored_at
from combined;
comment on view scan_prediction is
    'One row per scan, of its current answers. Class of the highest mean probability over the scored frames, each weighing the '
    'same; max_tumor_probability is the highest of one frame; review_reasons are those of any frame. For review, not for '
    'diagnosis.';
comment on column scan_prediction.is_standing is
    'Always true, because the view holds only current answers. It is kept for queries that were written before.';

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
    from current_prediction
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
