-- A small data set that can be counted by hand. Times are relative to the Monday of this week (UTC), so "last week" is the
-- seven days before it. Models old (1) and new (2), scoring run 1, rescore 2 by new, scoring run 3 by new. Run 1 is 31 days
-- before run 3, because the two must not be in one month.

create temporary table clock as
select date_trunc('week', now() at time zone 'utc') at time zone 'utc' as monday;

insert into snapshot values ('s', 's3://b/', 1, 0, '[]');
insert into training_run (run_key, recipe_name, recipe, snapshot_id, initialization, history, code_version,
                          library_versions, device, seconds)
select 'r', name, '{}', 's', 'random', '{}', '0', '{}', 'cpu', 1 from (values ('old'), ('new')) as made (name);
insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing, count_parameter,
    artifact_uri, artifact_sha256s, temperature)
select recipe_name, training_run_id, 'vgg16', 'fp32', 64, 'p', 1, 's3://b/m/', '{}', 1
from training_run order by training_run_id;
insert into evaluation (model_version_id, snapshot_id, split, count_image, accuracy, accuracy_low, accuracy_high,
    macro_precision, macro_recall, macro_f1, expected_calibration_error, log_loss)
select model_version_id, 's', 'test', 200, 0.7 + model_version_id / 10.0, 0.7, 0.95, 0.8, 0.8, 0.8, 0.1, 0.5
from model_version;
insert into test_prediction (evaluation_id, image_sha256, label, predicted_class, probability_glioma, probability_meningioma,
    probability_normal, probability_pituitary)
select evaluation_id, number::text, 'normal', case when number <= 100 then 'glioma' else 'normal' end::tumor_class,
    case when number <= 100 then 0.97 else 0.01 end, 0.01, case when number <= 100 then 0.01 else 0.97 end, 0.01
from evaluation cross join generate_series(1, 200) as number;

insert into promotion (request_key, action, model_version_id, is_override, actor, reason, promoted_at)
select name, 'promote', model_version_id, true, 'eve', 'the first', monday - days * interval '1 day'
from (values ('old', 60), ('new', 10)) as made (name, days)
join model_version on model_name = name cross join clock
order by days desc;

insert into scoring_run (run_key, kind, scans_uri, model_version_id, engine, state, count_seen, started_at, planned_at)
select run_key, kind::run_kind, uri, model, 'openvino-cpu', 'balanced', seen, monday - days * interval '1 day', now()
from (values ('first night', 'night', 's3://b/s/', 1, 4, 36), ('rescore', 'rescore', null, 2, null, 6),
             ('last night', 'night', 's3://b/s/', 2, 7, 5)) as made (run_key, kind, uri, model, seen, days)
cross join clock order by days desc;
insert into rescore_run (scoring_run_id, is_champion, actor, reason, asked_for, count_matching, count_asked)
values (2, true, 'eve', 'new knows more', '{}', 3, 3);

insert into scan (state, scoring_run_id, count_frame, size_bytes, format, pixel_sha256, study_pseudonym, patient_pseudonym,
    audit_probability, arrived_at, processed_at)
select made.state::scan_state, run, frames, 1, format, pixels, study, patient, audit,
    started_at - interval '2 hours', started_at
from (values
    (1, 'scored', 1, 1, 'png', 'a', null, null, null), (2, 'scored', 1, 1, 'png', 'b', null, null, null),
    (3, 'scored', 1, 1, 'png', 'c', null, null, null), (4, 'scored', 1, 1, 'png', 'd', null, null, 0.02),
    (5, 'scored', 3, 1, 'png', 'e', null, null, 0.02), (6, 'scored', 3, 1, 'png', 'f', null, null, null),
    (7, 'scored', 3, 1, 'png', 'g', null, null, 0.02), (8, 'scored', 3, 1, 'png', 'h', null, null, null),
    (9, 'scored', 3, 3, 'dicom', 'x', 'study 1', 'patient 1', null),
    (10, 'scored', 3, 1, 'dicom', 'x', 'study 2', 'patient 2', null),
    (11, 'rejected', 3, null, 'dicom', null, null, null, null)
) as made (number, state, run, frames, format, pixels, study, patient, audit)
join scoring_run on scoring_run_id = run
order by number;
update scan set manufacturer = case when scan_id = 9 then 'siemens' else 'ge' end, device_model = case scan_id when 9 then 'skyra' end
where format = 'dicom';
insert into scoring_run_object select scoring_run_id, scan_id, false from scan;
insert into scan_outcome select scoring_run_id, scan_id, state::text from scan;
insert into rejection (scan_id, scoring_run_id, reason, detail, rejected_at)
select 11, 3, 'no_pixel_data', 'none', monday - interval '5 days' from clock;
insert into rescore (scoring_run_id, scan_id, chunk_number, before_model_version_id, state, processed_at)
select 2, scan_id, 0, 1, 'rescored', monday - interval '6 days' from clock cross join generate_series(1, 3) as scan_id;

insert into prediction (scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence, margin,
    probability_glioma, probability_meningioma, probability_normal, probability_pituitary, prediction_set,
    out_of_distribution, second_class, second_confidence, review_reasons, activation_map, engine, preprocessing, scored_at)
select
    scan, frame, model_version_id, run, class::tumor_class, sure, sure - (1 - sure) / 3,
    case class when 'glioma' then sure else (1 - sure) / 3 end, case class when 'meningioma' then sure else (1 - sure) / 3 end,
    case class when 'normal' then sure else (1 - sure) / 3 end, case class when 'pituitary' then sure else (1 - sure) / 3 end,
    case
        when reasons ? 'no_likely_class' then '{}'
        when reasons ? 'several_classes' then '{glioma,pituitary}'
        else array[class]
    end::tumor_class[],
    case when reasons ? 'out_of_distribution' then 0.8 else 0.1 end,
    case when reasons ? 'model_disagreement' then 'normal' end::tumor_class,
    case when reasons ? 'model_disagreement' then 0.6 end,
    array(select jsonb_array_elements_text(reasons)), '', 'openvino-cpu', 'p', started_at
from (values
    (1, 0, 1, 'glioma', 0.95, '[]'::jsonb),
    (2, 0, 1, 'normal', 0.55, '["no_likely_class"]'),
    (3, 0, 1, 'meningioma', 0.9, '[]'),
    (4, 0, 1, 'normal', 0.99, '["audit_sample"]'),
    (1, 0, 2, 'glioma', 0.91, '[]'),
    (2, 0, 2, 'meningioma', 0.8, '[]'),
    (3, 0, 2, 'pituitary', 0.7, '["several_classes"]'),
    (5, 0, 3, 'glioma', 0.97, '["audit_sample"]'),
    (6, 0, 3, 'glioma', 0.62, '["several_classes", "model_disagreement"]'),
    (7, 0, 3, 'normal', 0.98, '["audit_sample"]'),
    (8, 0, 3, 'normal', 0.9, '["out_of_distribution"]'),
    (9, 0, 3, 'normal', 0.9, '["not_validated_on_volumes"]'),
    (9, 1, 3, 'glioma', 0.85, '["not_validated_on_volumes"]'),
    (9, 2, 3, 'normal', 0.8, '["not_validated_on_volumes"]'),
    (10, 0, 3, 'pituitary', 0.88, '[]')
) as made (scan, frame, run, class, sure, reasons)
join scoring_run on scoring_run_id = run;

insert into review (request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind, seconds,
    reviewed_at)
select 'answer ' || number, scan, 0, model, reviewer, finding::review_finding, purpose::review_purpose, is_blind, seconds,
    monday - days * interval '1 day'
from (values
    (1, 2, 1, 'bob', 'normal', 'risk', false, 10, 20),
    (2, 4, 1, 'bob', 'normal', 'audit', true, 12, 20),
    (3, 1, 2, 'bob', 'normal', 'risk', false, 3, 4),
    (4, 3, 2, 'ann', 'pituitary', 'risk', false, 20, 4),
    (5, 3, 2, 'bob', 'meningioma', 'risk', false, 22, 4),
    (6, 5, 2, 'ann', 'glioma', 'audit', true, 8, 4),
    (7, 6, 2, 'ann', 'meningioma', 'risk', false, 30, 4),
    (8, 6, 2, 'bob', 'meningioma', 'risk', false, 14, 4),
    (9, 7, 2, 'ann', 'glioma', 'audit', true, 9, 4),
    (10, 8, 2, 'ann', 'cannot_tell', 'risk', false, 40, 4)
) as made (number, scan, model, reviewer, finding, purpose, is_blind, seconds, days)
cross join clock
order by number;
insert into review_retraction (review_id, retracted_at) select 3, monday - interval '3 days' from clock;
select mark_cross_patient_duplicates(3);

insert into scoring_run_summary (scoring_run_id, level, count_arrived, reasons, drop_evidence)
values (1, 'green', 4, '{}', 1), (3, 'green', 7, '{}', 1.5);
insert into live_accuracy_figure (scoring_run_id, figure, class, value, low, high, not_assessed,
    count_drawn, count_read, count_settled, count_conflict, count_undecided)
values
    (1, 'scan', null, 0.8, 0.7, 0.9, null, 40, 40, 40, 0, 0),
    (3, 'finding', 'glioma', 0.8, 0.6, 0.9, null, null, null, 25, null, null),
    (3, 'predicted class', 'glioma', null, null, null, 'few', 9, 9, 9, 0, 0),
    (3, 'scan', null, 0.9, 0.8, 0.95, null, 60, 55, 50, 3, 2);
