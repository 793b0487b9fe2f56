-- How do the subgroups of DICOM scans compare in the last 28 days: scanner, sequence, age and sex?
select
    attribute,
    case when attribute in ('site', 'station') then left(subgroup, 8) else subgroup end as subgroup,
    count_scan,
    count_rejected,
    round(rejected_share::numeric, 3) as rejected_share,
    round(normal::numeric, 3) as normal_share,
    round(drift::numeric, 2) as drift,
    count_reviewed,
    round(live_accuracy::numeric, 3) as live_accuracy,
    round(live_accuracy_low::numeric, 3) as live_accuracy_low,
    round(live_accuracy_high::numeric, 3) as live_accuracy_high,
    not_assessed
from braintumor.subgroup_summary
order by attribute, count_scan desc, subgroup;
