-- Whether a snapshot's images say whose they are: counts, never identifiers.

set local search_path = braintumor;

alter table snapshot
    add column count_identified integer,
    add column count_patient_identified integer,
    add check (count_identified between 0 and count_image),
    add check (count_patient_identified between 0 and count_identified);
comment on column snapshot.count_identified is
    'Images with a patient or study identifier; null in snapshots of before it was counted.';
comment on column snapshot.count_patient_identified is
    'Images with a patient identifier. Only where it equals count_image are patients known to be on one side of a split.';
comment on column snapshot_image.attributes is
    'What answers can be sliced by: source folder, format, color, size; where DICOM gives them age band, sex, manufacturer, field strength, sequence.';
