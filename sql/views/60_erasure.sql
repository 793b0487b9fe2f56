-- erase_subject(pseudonym, mark, images, actor, reason): deletes every row of one patient and adds a row to erasure.
-- Example: `braintumor subject erase` calls it and removes from S3 the objects that it returns, in the same transaction.
-- The patient's scans are those of the patient pseudonym, and those without one that have a study or pixels in common with
-- them. The patient's images in snapshots have the same bytes, are named by the caller, are images of reviewed frames, or have
-- the same pixels as one of these. Objects that an earlier erasure of the patient left in S3 are returned again (waiting: URI
-- and ETag), and scans that were rejected there since are deleted too.
-- scan_etags has the ETags of the listed versions of each scan's object, because another file can have its address since.
-- Refused while a chunk has a lease, because its worker could write rows of the patient after the erasure. Runs with the rights
-- of its owner, because the eraser role has none.
-- Errors by SQLSTATE: UE001, no row is stored of the patient; UE002, a run is scoring.
create function erase_subject(
    erased_pseudonym text, erased_mark text, named_images text[], erasing_actor text, erasing_reason text
)
returns jsonb language plpgsql security definer set search_path = braintumor, pg_temp as $$
declare
    scans      bigint[];
    images     text[];
    uris       text[];
    frames     text[];
    found      jsonb;
    runs       jsonb;
    snapshots  jsonb;
    waiting    jsonb;
    counts     jsonb := '{}';
    number     bigint;
    relation   text;
begin
    perform pg_advisory_xact_lock(hashtextextended('braintumor discovery', 0));  -- no run adds scans meanwhile
    lock table scoring_chunk in share row exclusive mode;  -- no worker can claim a chunk meanwhile
    if exists (select from scoring_chunk where finished_at is null and lease_expires_at > clock_timestamp()) then
        raise exception using errcode = 'UE002', message = 'a run is scoring now: erase after it has ended';
    end if;

    select coalesce(jsonb_object_agg(object_uri, etag), '{}') into waiting
    from erasure_object
    join erased_subject using (erasure_id)
    where subject_mark = erased_mark;

    with of_patient as (
        select study_pseudonym, pixel_sha256 from scan where patient_pseudonym = erased_pseudonym
    )
    select coalesce(array_agg(scan_id), '{}') into scans
    from scan
    where patient_pseudonym = erased_pseudonym
       or patient_pseudonym is null and (
            study_pseudonym in (select study_pseudonym from of_patient)
            or pixel_sha256 in (select pixel_sha256 from of_patient))
       or state = 'rejected' and scan_id in (
            select scan_id
            from scan_location
            join rejection using (scan_id)
            where reason = 'subject_erased' and waiting ? ('s3://' || bucket || '/' || key));

    with named as (
        select unnest(named_images) as image_sha256
        union
        select content_sha256 from scan where scan_id = any(scans) and content_sha256 is not null
        union
        select image_sha256 from reviewed_frame where scan_id = any(scans)
    ),
    same_pixels as (
        select image_sha256
        from split_assignment
        where pixel_sha256 in (
            select pixel_sha256 from split_assignment join named using (image_sha256)
            union all
            select pixel_sha256 from scan where scan_id = any(scans))
    )
    select coalesce(array_agg(image_sha256), '{}') into images
    from (select image_sha256 from named union select image_sha256 from same_pixels) as all_images;

    if scans = '{}' and images = '{}' and waiting = '{}' then
        raise exception using errcode = 'UE001', message = 'nothing is stored of this pseudonym';
    end if;

    select array_agg(distinct image_uri) into uris from (
        select image_uri from snapshot_image
        where image_sha256 = any(images) and image_uri not in (select image_uri from reviewed_frame)
        union all
        select 's3://' || bucket || '/' || key from scan_location where scan_id = any(scans)
    ) as erased_object;
    select jsonb_build_object(
        'waiting', waiting,
        'image_sha256s', to_jsonb(images),
        'contents', (
            select coalesce(jsonb_agg(distinct content), '[]')
            from (
                select unnest(images) as content
                union all
                select pixel_sha256 from split_assignment where image_sha256 = any(images)
                union all
                select unnest(array[content_sha256, pixel_sha256, study_pseudonym]) from scan where scan_id = any(scans)
            ) as theirs
            where content is not null),
        'page_uris', (
            select coalesce(jsonb_agg(distinct page_uri), '[]')
            from (
                select page_uri from page_scan where scan_id = any(scans)
                union all
                select page_uri from page_image where image_sha256 = any(images)
            ) as shown),
        'object_uris', to_jsonb(coalesce(uris, '{}')),
        'scan_etags', (
            select coalesce(jsonb_object_agg(uri, etags), '{}')
            from (
                select 's3://' || bucket || '/' || key as uri, jsonb_agg(etag) as etags
                from scan_location
                where scan_id = any(scans)
                group by uri
            ) as located),
        'picture_uris', (select coalesce(jsonb_agg(distinct image_uri), '[]') from reviewed_frame
                         where scan_id = any(scans) or image_sha256 = any(images)),
        'snapshot_ids', (select coalesce(jsonb_agg(distinct snapshot_id), '[]') from snapshot_image
                         where image_sha256 = any(images)),
        'artifact_uris', (select coalesce(jsonb_agg(artifact_uri order by model_version_id), '[]') from model_version
                        join training_run using (training_run_id)
                        where snapshot_id in (select snapshot_id from snapshot_image where image_sha256 = any(images)))
    ) into found;

    select coalesce(jsonb_agg(counted), '[]') into runs
    from (
        select scoring_run_id, sum(is_listed) as count_object, sum(is_rescored) as count_rescore
        from (
            select scoring_run_id, 1 as is_listed, 0 as is_rescored from scoring_run_object where scan_id = any(scans)
            union all
            select scoring_run_id, 0, 1 from rescore where scan_id = any(scans)
        ) as listed
        group by scoring_run_id
    ) as counted;
    select coalesce(jsonb_agg(counted), '[]') into snapshots
    from (
        select snapshot_id, count(*) as count_image from snapshot_image where image_sha256 = any(images) group by snapshot_id
    ) as counted;

    select coalesce(array_agg('scan ' || scan_id || ', frame ' || frame_index), '{}') into frames  -- as left_out names them
    from snapshot_review
    where scan_id = any(scans);

    perform set_config('braintumor.is_erasing', 'yes', true);
    delete from review_retraction using review
    where review.review_id = review_retraction.review_id and review.scan_id = any(scans);
    update prediction set copied_from_scan_id = null
    where copied_from_scan_id = any(scans) and scan_id <> all(scans);
    delete from reviewed_frame where image_sha256 = any(images) and scan_id <> all(scans);  -- its image is deleted
    foreach relation in array array[
        'page_scan', 'reviewed_frame', 'snapshot_review', 'requested_label', 'review_session_item', 'shown_image', 'review', 'prediction', 'shadow_prediction', 'rejection', 'scan_requeue', 'rescore', 'scoring_run_object', 'scan_outcome', 'scan_location', 'scan'
    ] loop
        execute format('delete from %I where scan_id = any($1)', relation) using scans;
        get diagnostics number = row_count;
        counts := counts || jsonb_build_object(relation, number);
    end loop;

    update test_prediction set nearest_training_sha256 = null, nearest_distance = null
    where nearest_training_sha256 = any(images);
    foreach relation in array array['page_image', 'test_prediction', 'snapshot_exclusion', 'snapshot_image', 'split_assignment'] loop
        execute format('delete from %I where image_sha256 = any($1)', relation) using images;
        get diagnostics number = row_count;
        counts := counts || jsonb_build_object(relation, number);
    end loop;
    update snapshot_image set group_key = renamed.group_key  -- a group has the name of its first image
    from (
        select snapshot_id, snapshot_image.group_key as old_key, min(image_sha256) as group_key
        from snapshot_image
        where snapshot_image.group_key = any(images)
        group by snapshot_id, old_key
    ) as renamed
    where renamed.snapshot_id = snapshot_image.snapshot_id and old_key = snapshot_image.group_key;
    update snapshot set left_out = (
        select coalesce(jsonb_agg(item), '[]')
        from jsonb_array_elements(left_out) as item
        where item ->> 'image_sha256' <> all(images)
          and item ->> 'image_uri' <> all(coalesce(uris, '{}'))
          and item ->> 'image_uri' <> all(frames)
    )
    where exists (
        select from jsonb_array_elements(left_out) as item
        where item ->> 'image_sha256' = any(images) or item ->> 'image_uri' = any(uris || frames));

    perform set_config('braintumor.is_erasing', '', true);
    delete from erasure_object where waiting ? object_uri;  -- the caller adds the remaining objects again

    insert into erasure (actor, reason, counts) values (erasing_actor, erasing_reason, counts)
    returning erasure_id into number;
    insert into erased_subject (subject_mark, erasure_id) values (erased_mark, number);
    insert into erasure_run (erasure_id, scoring_run_id, count_object, count_rescore)
    select number, scoring_run_id, count_object, count_rescore
    from jsonb_to_recordset(runs) as run (scoring_run_id bigint, count_object integer, count_rescore integer);
    insert into erasure_snapshot (erasure_id, snapshot_id, count_image)
    select number, snapshot_id, count_image
    from jsonb_to_recordset(snapshots) as held (snapshot_id text, count_image integer);
    return found || jsonb_build_object('erasure_id', number, 'counts', counts);
end $$;
comment on function erase_subject(text, text, text[], text, text) is
    'Deletes every row of one patient, adds a row to erasure, and returns the objects to remove from S3.';
