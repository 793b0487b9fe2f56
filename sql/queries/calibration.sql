-- Is the confidence calibrated: with which share of audited scans do blind reviewers agree, by model and confidence band?
with patient as (
    select
        model_name,
        braintumor.confidence_bin(confidence) as bin,
        count(*) as count_scan,
        sum(1 / audit_probability::double precision) as weight,
        sum(confidence / audit_probability::double precision) as confidence,
        sum(is_agreed::integer / audit_probability::double precision) as agreed
    from braintumor.audited_scan
    where finding is not null
    group by model_name, bin, cluster_key
),
band as (
    select
        model_name,
        round(bin / 10.0, 1) as confidence_from,
        sum(count_scan)::bigint as count_scan,
        sum(confidence) / sum(weight) as mean_confidence,
        sum(agreed) / sum(weight) as agreement,
        sum(weight) ^ 2 / sum(weight ^ 2) as count_effective  -- patients of equal weight with the same variance (Kish)
    from patient
    group by model_name, bin
)
select
    model_name,
    confidence_from,
    count_scan,
    mean_confidence,
    agreement,
    braintumor.wilson_low(agreement * count_effective, count_effective) as agreement_low,
    braintumor.wilson_high(agreement * count_effective, count_effective) as agreement_high
from band
order by model_name, confidence_from;
