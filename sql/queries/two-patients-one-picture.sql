-- Which scans of different patients show the same picture? One of the two may carry the wrong patient.
select scan_id, other_scan_id
from braintumor.same_content_other_patient
where scan_id < other_scan_id
order by scan_id, other_scan_id;
