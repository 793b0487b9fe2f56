-- Store a snapshot. If it exists, update its source, excluded images and counts.
insert into snapshot (snapshot_id, source_uri, count_image, count_copy, left_out, count_identified,
    count_patient_identified, count_kept_from_test, exempt_classes)
values (:id, :source, :count_image, :count_copy, cast(:left_out as jsonb), :count_identified, :count_patient,
    :kept_from_test, :exempt)
on conflict (snapshot_id) do update
set source_uri = excluded.source_uri, count_copy = excluded.count_copy, left_out = excluded.left_out,
    count_identified = excluded.count_identified,
    count_patient_identified = excluded.count_patient_identified,
    count_kept_from_test = excluded.count_kept_from_test, exempt_classes = excluded.exempt_classes
