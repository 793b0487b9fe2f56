-- cross_patient_duplicate_pair: one row per scored scan and scored scan of another patient with the same image, so each pair
-- has two rows. Example: which images are filed under two patients?
-- The image is the same if the pixels of all scored frames are equal, in any file. Both scans have a patient pseudonym, and neither
-- file was overwritten.
create view cross_patient_duplicate_pair as
select scan.scan_id, other.scan_id as other_scan_id
from scan
join scan as other using (pixel_sha256)
where other.patient_pseudonym <> scan.patient_pseudonym and other.state = 'scored' and scan.state = 'scored'
  and not other.is_replaced and not scan.is_replaced;
comment on view cross_patient_duplicate_pair is
    'One row per scored scan and scored scan of another patient with equal pixels, so each pair has two rows. Key: '
    'scan_id, other_scan_id. Example: which images are filed under two patients?';
comment on column cross_patient_duplicate_pair.scan_id is 'The scan.';
comment on column cross_patient_duplicate_pair.other_scan_id is 'The scan of the other patient.';

-- mark_cross_patient_duplicates(run): stores the cross-patient duplicates of a run for worklist_page, and returns the number
-- of new scans. Example: select mark_cross_patient_duplicates(17). Runs with the rights of its owner.
create function mark_cross_patient_duplicates(run bigint) returns bigint language sql security definer
set search_path = braintumor, pg_temp as $$
    with pair as (
        select pair.scan_id, pair.other_scan_id
        from scan
        join cross_patient_duplicate_pair as pair using (scan_id)
        where scan.scoring_run_id = run
    ),
    marked as (
        insert into cross_patient_duplicate
        select scan_id from pair union select other_scan_id from pair
        on conflict do nothing
        returning scan_id
    )
    select count(*) from marked
$$;
comment on function mark_cross_patient_duplicates(bigint) is
    'Stores the scans of a run that are cross-patient duplicates, and their counterparts, for worklist_page. Returns '
    'the number of new scans.';
