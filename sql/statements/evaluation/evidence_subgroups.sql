-- Subgroups of the DICOM scans of the last 28 days, of all models. Sites and stations have shortened pseudonyms.
select
    attribute,
    case when attribute in ('site', 'station') then left(subgroup, 8) else subgroup end as subgroup,
    count_scan,
    rejected_share,
    mean_set_size,
    drift,
    count_reviewed as count_scan_settled,
    live_accuracy,
    live_accuracy_low,
    live_accuracy_high,
    not_assessed
from subgroup_summary
order by attribute, count_scan desc, subgroup
