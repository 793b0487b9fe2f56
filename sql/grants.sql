-- Rights of each role in the schema braintumor. `braintumor migrate` revokes and grants them again each time. Other logins
-- keep their rights. tests/db/test_roles.py has the same rights as a matrix.
--
-- No role has truncate, not even the owner. Tables with rows that are written once (prediction, rejection,
-- scoring_run_object and others) are append-only, because no role may update or delete. Tables of decisions by people
-- have triggers too, which stop the owner as well.

do $$
declare
    roles      constant text :=
        'public, braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer, braintumor_analyst, '
        'braintumor_eraser';
    statement  text;
begin
    for statement in
        select format('revoke all on %s from %s', oid::regclass, roles)
        from pg_class
        where relnamespace = 'braintumor'::regnamespace and relkind in ('r', 'v', 'm', 'p', 'f', 'S')
          and relowner = current_user::regrole
        union all
        select format('revoke all on function %s from %s', oid::regprocedure, roles)
        from pg_proc
        where pronamespace = 'braintumor'::regnamespace and proowner = current_user::regrole
        union all
        select format('revoke truncate on %s from current_user', oid::regclass)
        from pg_class
        where relnamespace = 'braintumor'::regnamespace and relkind in ('r', 'v') and relowner = current_user::regrole
    loop
        execute statement;
    end loop;
end $$;
revoke all on schema braintumor from
    public, braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer, braintumor_analyst,
    braintumor_eraser;
grant usage on schema braintumor to
    braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer, braintumor_analyst,
    braintumor_eraser;

-- Our views have no object key, so all roles except the eraser read them.
do $$
declare
    readers  constant text :=
        'braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer, braintumor_analyst';
    name     text;
begin
    for name in
        select relname
        from pg_class
        join view_definition on object_name = 'view ' || relname
        where relkind = 'v' and relnamespace = 'braintumor'::regnamespace
    loop
        execute format('grant select on braintumor.%I to %s', name, readers);
    end loop;
end $$;

-- Functions are granted by name, so only the owner can execute a new one until it is listed here. The first statement is
-- needed because Postgres grants new functions to public. A view calls functions with the reader's rights.
alter default privileges revoke execute on functions from public;
grant execute on function
    braintumor.wilson_low(double precision, double precision), braintumor.wilson_high(double precision, double precision),
    braintumor.stability_index(jsonb, jsonb), braintumor.confidence_bin(double precision),
    braintumor.likeliest_class(double precision, double precision, double precision, double precision),
    braintumor.distinct_reasons(jsonb),
    braintumor.snapshot_difference(text, text), braintumor.champion_at(timestamptz),
    braintumor.worklist_page(integer, date, text, text, text, double precision),
    braintumor.reviewed_label(integer, text[], boolean)
    to braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer, braintumor_analyst;
grant execute on function braintumor.mark_cross_patient_duplicates(bigint) to braintumor_scorer;

-- Models: training, evaluation and promotion.
grant select on
    migration, snapshot, training_run, model_version, evaluation, evaluation_class, confusion_cell, test_prediction,
    test_set_access, evaluation_occlusion, evaluation_slice, gate_verdict, promotion, withdrawal, pruning,
    approval_decision, reference_model
    to braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer;
grant select on snapshot_image, split_assignment, snapshot_exclusion to braintumor_trainer;
grant select on snapshot_image to braintumor_promoter;  -- a refreshed report lists slices of test

-- Scans and predictions, without object keys.
grant select on
    scan, prediction, rejection, scoring_run_object, scan_outcome, scoring_run, scoring_chunk, rescore_run, rescore,
    scoring_run_summary, scan_requeue, shadow_prediction
    to braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer;

-- Scoring.
grant select, insert on scan_location to braintumor_scorer;
grant insert, update on scan, scoring_run, scoring_chunk, rescore, scoring_run_summary, live_accuracy_figure
    to braintumor_scorer;
grant select on live_accuracy_figure to braintumor_scorer;  -- on conflict
grant insert on prediction, rejection, scoring_run_object, scan_outcome, rescore_run, scan_requeue, shadow_prediction
    to braintumor_scorer;
grant select on page to braintumor_promoter, braintumor_reviewer;  -- which models have an evidence report
grant select on erased_subject, erased_content to braintumor_scorer, braintumor_trainer;  -- to reject their files
grant select, insert on page, page_scan, page_image to braintumor_scorer, braintumor_trainer;  -- contents of their pages
grant usage on sequence scan_scan_id_seq to braintumor_scorer;  -- discovery assigns scan ids while listing

-- Training.
grant insert, update on snapshot, snapshot_image, evaluation to braintumor_trainer;
grant insert on split_assignment, training_run, model_version, test_set_access, gate_verdict, reference_model
    to braintumor_trainer;
grant insert, delete on
    snapshot_exclusion,  -- replaced by a repeated snapshot
    evaluation_class, confusion_cell, test_prediction, evaluation_occlusion, evaluation_slice  -- replaced by a repeated evaluation
    to braintumor_trainer;
grant select on review, review_retraction to braintumor_trainer;  -- labels from reviews
grant execute on function braintumor.reviewed_location(bigint[]) to braintumor_trainer;
grant select, insert, update on reviewed_frame, snapshot_review to braintumor_trainer;
grant select, insert on requested_label to braintumor_trainer;
grant select on snapshot_review to braintumor_promoter, braintumor_reviewer;

-- Promotion.
grant insert on promotion, withdrawal, pruning, approval_decision, reference_model to braintumor_promoter;

-- Review. The pages show images, so their process needs the object keys.
grant select on scan_location to braintumor_reviewer;
grant select, insert on review_session, review_session_item, review, review_retraction, shown_image to braintumor_reviewer;

-- Erasure. The function runs with the owner's rights. The tables have the marks and the remaining objects.
grant execute on function braintumor.erase_subject(text, text, text[], text, text) to braintumor_eraser;
grant select on page, erased_subject to braintumor_eraser;
grant select (image_uri) on reviewed_frame, snapshot_image to braintumor_eraser;  -- images in S3 without a row are deleted
grant select (source_uri) on snapshot to braintumor_eraser;  -- the prefixes with labeled images
grant select, insert on erased_content to braintumor_eraser;
grant select, insert, delete on erasure_object to braintumor_eraser;
