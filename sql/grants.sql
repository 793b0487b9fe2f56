-- What each role may do in the schema braintumor: everything is taken away and given anew after each migration, because
-- views are made anew. tests/test_roles.py holds the same as a matrix, cell by cell.
--
-- Nobody is given truncate, not even the owner. Tables whose rows machines write once (prediction, rejection, sighting and
-- others) are append-only by having no grant of update or delete; ledgers of what people decide have triggers as well, which
-- refuse the owner too.

revoke all on all tables in schema braintumor from
    public, braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer, braintumor_analyst,
    braintumor_eraser;
revoke all on all sequences in schema braintumor from
    public, braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer, braintumor_analyst,
    braintumor_eraser;
revoke all on all functions in schema braintumor from
    public, braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer, braintumor_analyst,
    braintumor_eraser;
revoke truncate on all tables in schema braintumor from current_user;
revoke all on schema braintumor from
    public, braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer, braintumor_analyst,
    braintumor_eraser;
grant usage on schema braintumor to
    braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer, braintumor_analyst,
    braintumor_eraser;

-- Views hold no object key, so all who work here read all of them, and call the functions beside them.
do $$
declare
    readers  constant text :=
        'braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer, braintumor_analyst';
    name     text;
begin
    for name in select viewname from pg_views where schemaname = 'braintumor' loop
        execute format('grant select on braintumor.%I to %s', name, readers);
    end loop;
    -- A function runs as who calls it, even within a view: one that reads tables must be security definer.
    for name in
        select oid::regprocedure from pg_proc
        where pronamespace = 'braintumor'::regnamespace and prokind = 'f' and prorettype <> 'trigger'::regtype
          and proname not in ('erase_subject', 'reviewed_location')  -- these are for one role each
    loop
        execute format('grant execute on function %s to %s', name, readers);
    end loop;
end $$;

-- How models were made and what became of them: read by whoever scores, trains, promotes or shows pages.
grant select on
    migration, snapshot, training_run, model_version, evaluation, evaluation_class, confusion_cell, test_prediction,
    evaluation_look, evaluation_occlusion, evaluation_slice, gate_verdict, promotion, withdrawal, pruning, approval_answer
    to braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer;
grant select on snapshot_image, split_assignment to braintumor_trainer;
grant select on snapshot_image to braintumor_promoter;  -- a refreshed report names slices of test

-- What was scored, without where it lies.
grant select on
    scan, prediction, rejection, sighting, scoring_run, scoring_chunk, rescore_run, rescore, scoring_run_summary,
    scan_requeue, shadow_prediction
    to braintumor_scorer, braintumor_trainer, braintumor_promoter, braintumor_reviewer;

-- Scoring.
grant select, insert on scan_location to braintumor_scorer;
grant insert, update on scan, scoring_run, scoring_chunk, rescore, scoring_run_summary to braintumor_scorer;
grant insert on prediction, rejection, sighting, rescore_run, scan_requeue, shadow_prediction to braintumor_scorer;
grant select on erased_subject, erased_content to braintumor_scorer, braintumor_trainer;  -- whose files are refused
grant select, insert on page, page_scan, page_image to braintumor_scorer, braintumor_trainer;  -- what their pages show
grant usage on sequence scan_scan_id_seq to braintumor_scorer;  -- discovery numbers scans as they are listed

-- Training.
grant insert, update on snapshot, snapshot_image, evaluation to braintumor_trainer;
grant insert on split_assignment, training_run, model_version, evaluation_look, gate_verdict to braintumor_trainer;
grant insert, delete on
    evaluation_class, confusion_cell, test_prediction, evaluation_occlusion, evaluation_slice  -- judged again: anew
    to braintumor_trainer;
grant select on review, review_retraction to braintumor_trainer;  -- what people said becomes labels
grant execute on function braintumor.reviewed_location(bigint[]) to braintumor_trainer;
grant select, insert, update on reviewed_frame, snapshot_review to braintumor_trainer;
grant select, insert on requested_label to braintumor_trainer;
grant select on snapshot_review to braintumor_promoter, braintumor_reviewer;

-- Promotion.
grant insert on promotion, withdrawal, pruning, approval_answer to braintumor_promoter;

-- Reviewing. The pages show images, so their process must know where these lie.
grant select on scan_location to braintumor_reviewer;
grant select, insert on review_session, review_session_item, review, review_retraction, shown_image to braintumor_reviewer;

-- Erasure: the function does it with the owner's rights. The tables hold what has to be remembered after it.
grant execute on function braintumor.erase_subject(text, text, text[], text, text) to braintumor_eraser;
grant select on page, erased_subject to braintumor_eraser;
grant select, insert on erased_content to braintumor_eraser;
grant select, insert, delete on erasure_object to braintumor_eraser;
