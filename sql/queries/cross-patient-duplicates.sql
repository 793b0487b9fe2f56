-- Which scans of different patients show the same image? One of the two may have the wrong patient.
select scan_id, other_scan_id
from braintumor.cross_patient_duplicate_pair
where scan_id < other_scan_id
order by scan_id, other_scan_id;
