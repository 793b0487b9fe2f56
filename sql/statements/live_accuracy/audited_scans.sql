-- The audited scans of the period, with the number of scans of the patient in the period.
with period as (
    {% include "live_accuracy/scans_of_period.sql" %}
),
patient as (
    select patient_pseudonym, count(*) as count_scan from period group by patient_pseudonym
)
select
    audited_scan.cluster_key,
    audited_scan.audit_probability,
    audited_scan.outcome,
    audited_scan.predicted_class::text as predicted_class,
    audited_scan.finding::text as finding,
    audited_scan.is_agreed,
    audited_scan.second_finding::text as second_finding,
    audited_scan.confidence,
    audited_scan.probability_normal,
    patient.count_scan as count_scan_of_patient,
    date_trunc('week', audited_scan.processed_at at time zone 'utc')::date as week
from period
join audited_scan using (scan_id)
left join patient on patient.patient_pseudonym = audited_scan.patient_pseudonym
order by scan_id
