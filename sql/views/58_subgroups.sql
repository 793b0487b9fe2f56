-- scan_subgroup: one row per processed DICOM scan and attribute of its header: the subgroup of the scan.
-- Example: which scans came from a station? where attribute = 'station' and subgroup = '...'
create view scan_subgroup as
select
    scan.scan_id,
    scan.scoring_run_id,
    scan.state,
    scan.processed_at,
    given.attribute,
    given.subgroup
from scan
cross join lateral (values
    ('site', site_pseudonym), ('station', station_pseudonym), ('manufacturer', manufacturer),
    ('device model', device_model), ('field strength', field_strength), ('sequence family', sequence_family),
    ('age band', age_band), ('sex', sex)
) as given (attribute, subgroup)
where scan.state in ('scored', 'rejected') and given.subgroup is not null;
comment on view scan_subgroup is
    'One row per processed DICOM scan and attribute of its header. Key: scan_id, attribute. Example: which '
    'scans came from a station?';
comment on column scan_subgroup.attribute is
    'site, station, manufacturer, device model, field strength, sequence family, age band or sex.';
comment on column scan_subgroup.subgroup is 'Value of the attribute. For site and station it is a keyed pseudonym.';

-- subgroup_summary: one row per attribute and subgroup, over the scoring runs of the last 28 days.
-- Example: does one scanner have more rejections than the others?
-- Drift is the population stability index of the predicted classes, against the 28 days before. It has the same least
-- number of predictions as drift_weekly. The live accuracy is that of the audited scans with a finding, over 90
-- days: each scan has the weight 1 / audit_probability, as in live_accuracy. Its interval takes the scans of one patient as
-- one (Kish's effective number).
create view subgroup_summary as
with period as (
    select scoring_run_id, started_at > now() - interval '28 days' as is_recent
    from scoring_run
    where kind = 'night' and started_at > now() - interval '56 days'
),
counted as (
    select attribute, subgroup, count(*) as count_scan, count(*) filter (where state = 'rejected') as count_rejected
    from scan_subgroup
    join period using (scoring_run_id)
    where is_recent
    group by attribute, subgroup
),
histogram as (
    select
        attribute,
        subgroup,
        is_recent,
        sum(count_frame)::bigint as count_frame,
        sum(count_set) as count_set,
        sum(count_class) as count_class,
        jsonb_object_agg(label, count_frame) as bins
    from (
        select
            attribute,
            subgroup,
            is_recent,
            predicted_class::text as label,
            count(*) as count_frame,
            count(prediction_set) as count_set,
            sum(cardinality(prediction_set)) as count_class
        from scan_subgroup
        join period using (scoring_run_id)
        join prediction using (scan_id, scoring_run_id)
        group by attribute, subgroup, is_recent, predicted_class
    ) as by_class
    group by attribute, subgroup, is_recent
),
patient as (
    select
        attribute,
        subgroup,
        count(*) as count_scan,
        sum(1 / audit_probability::double precision) as weight,
        sum(is_agreed::integer / audit_probability::double precision) as agreed
    from audited_scan
    join scan_subgroup using (scan_id)
    where finding is not null and audited_scan.processed_at > now() - interval '90 days'
    group by attribute, subgroup, cluster_key
),
reviewed as (
    select
        attribute,
        subgroup,
        sum(count_scan)::bigint as count_reviewed,
        count(*) as count_patient,
        sum(agreed) / sum(weight) as live_accuracy,
        sum(weight) ^ 2 / sum(weight ^ 2) as count_effective
    from patient
    group by attribute, subgroup
)
select
    counted.attribute,
    counted.subgroup,
    counted.count_scan,
    counted.count_rejected,
    case when count_scan >= 20 then count_rejected::double precision / count_scan end as rejected_share,
    coalesce(recent.count_frame, 0) as count_frame,
    share.glioma,
    share.meningioma,
    share.normal,
    share.pituitary,
    case when recent.count_set >= 20 then (recent.count_class / recent.count_set)::double precision end as mean_set_size,
    case when recent.count_frame >= 100 and before.count_frame >= 100
        then stability_index(before.bins, recent.bins) end as drift,
    coalesce(count_reviewed, 0) as count_reviewed,
    case when count_patient >= 20 then live_accuracy end as live_accuracy,
    concat_ws('; ',
        case when count_scan < 20 then 'fewer than 20 scans: not assessed' end,
        case when coalesce(recent.count_frame, 0) < 20 then 'fewer than 20 predictions: classes not assessed' end,
        case when coalesce(recent.count_frame, 0) < 100 or coalesce(before.count_frame, 0) < 100
            then 'fewer than 100 predictions in one period: drift not assessed' end,
        case when coalesce(count_patient, 0) < 20 then 'fewer than 20 audited patients: accuracy not assessed' end
    ) as not_assessed,
    case when count_patient >= 20 then wilson_low(live_accuracy * count_effective, count_effective) end as live_accuracy_low,
    case when count_patient >= 20 then wilson_high(live_accuracy * count_effective, count_effective) end as live_accuracy_high
from counted
left join histogram as recent
    on recent.attribute = counted.attribute and recent.subgroup = counted.subgroup and recent.is_recent
left join histogram as before
    on before.attribute = counted.attribute and before.subgroup = counted.subgroup and not before.is_recent
left join reviewed on reviewed.attribute = counted.attribute and reviewed.subgroup = counted.subgroup
cross join lateral (
    select
        coalesce((bins ->> 'glioma')::double precision, 0) / total as glioma,
        coalesce((bins ->> 'meningioma')::double precision, 0) / total as meningioma,
        coalesce((bins ->> 'normal')::double precision, 0) / total as normal,
        coalesce((bins ->> 'pituitary')::double precision, 0) / total as pituitary
    from (select recent.bins, case when recent.count_frame >= 20 then recent.count_frame end as total) as mix
) as share;
comment on view subgroup_summary is
    'One row per attribute of the DICOM header and subgroup, over the scoring runs of the last 28 days. '
    'Key: attribute, subgroup. Example: does one scanner have more rejections than the others?';
comment on column subgroup_summary.attribute is
    'site, station, manufacturer, device model, field strength, sequence family, age band or sex.';
comment on column subgroup_summary.subgroup is 'Value of the attribute. For site and station it is a keyed pseudonym.';
comment on column subgroup_summary.count_scan is 'Scored and rejected scans.';
comment on column subgroup_summary.count_rejected is 'Of these, rejected scans.';
comment on column subgroup_summary.rejected_share is 'count_rejected as a share of count_scan; null below 20 scans.';
comment on column subgroup_summary.count_frame is 'Frames that the scoring runs predicted.';
comment on column subgroup_summary.glioma is 'Share of the frames predicted as glioma; null below 20 frames.';
comment on column subgroup_summary.meningioma is 'Share of the frames predicted as meningioma; null below 20 frames.';
comment on column subgroup_summary.normal is 'Share of the frames predicted as normal; null below 20 frames.';
comment on column subgroup_summary.pituitary is 'Share of the frames predicted as pituitary; null below 20 frames.';
comment on column subgroup_summary.mean_set_size is
    'Mean number of classes in a prediction set; null below 20 frames with a set.';
comment on column subgroup_summary.drift is
    'Population stability index of the predicted classes against the 28 days before; null below 100 frames in either '
    'period.';
comment on column subgroup_summary.count_reviewed is
    'Scans of the audit sample that blind reviews have settled, of the last 90 days.';
comment on column subgroup_summary.live_accuracy is
    'Share of these scans on which reviewers and model agree, weighted by audit_probability; null below 20 patients.';
comment on column subgroup_summary.not_assessed is 'Which values are not assessed, and why; empty if all are.';
comment on column subgroup_summary.live_accuracy_low is 'Lower end of the 95% interval of live_accuracy.';
comment on column subgroup_summary.live_accuracy_high is 'Upper end of the 95% interval of live_accuracy.';
