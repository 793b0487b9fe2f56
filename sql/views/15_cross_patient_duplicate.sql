-- same_content_other_patient: one row per scored scan and scored scan of another patient with the same picture, so each pair
-- is there twice. Example: which pictures are filed under two patients?
-- The same picture: equal pixels of every scored frame, in whatever file. Of another patient: both have a pseudonym, and the
-- two differ.
create view cross_patient_duplicate_pair as
select scan.scan_id, other.scan_id as other_scan_id
from scan
join scan as other using (pixel_sha256)
where other.patient_pseudonym <> scan.patient_pseudonym and other.state = 'scored' and scan.state = 'scored';

-- mark_cross_patient_duplicates(run): note the scans of a night that show the picture of another patient's, and these others, for the
-- first page of the worklist; returns how many were new. Example: select mark_cross_patient_duplicates(17). Run with its owner's rights.
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
    'Notes the scans of a night that show the picture of another patient''s, for the first page of the worklist.';
