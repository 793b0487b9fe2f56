-- Comments of views and their columns, so that \d+ explains them and docs/data-dictionary.md can be made from them. A comment
-- that a view's own file gives stays. A column without one has the comment of its name below, or that of a table's column of
-- the same name.
-- Of tables, where the meaning changed since the migration that made them; first, as views inherit them.
comment on table scan_location is
    'One row per scan: where it lies. Keys can identify patients: read by the scorer and by the pages (reviewer); the trainer '
    'learns those of reviewed scans by reviewed_location.';
comment on column migration.is_additive is 'Whether code that does not know it can work on; as its first line says.';
comment on column scoring_run_summary.count_arrived is
    'Object versions that were new under the prefix on the night''s day (BRAINTUMOR_TIMEZONE), over all its runs of that day so far.';
comment on column scoring_run_summary.drift is
    'One object per reference (recent nights of the site, the model''s test split): reference, count_reference (people, or images of '
    'the test split), and the population stability index of_class (recent nights only) and of_confidence. Null means not assessed. '
    'Empty for nights before 0025. Nights judged by an earlier version compared classes with the test split too.';

do $$
declare
    named record;
begin
    for named in
        with view_comment (view_name, meaning) as (values
            ('champion', 'One row: the model that scores tonight; none before the first promotion, or once it is withdrawn.'),
            ('daily_summary', 'One row per day (UTC), model and class, of answers as they were written.'),
            ('current_prediction', 'One row per frame: the answer that stands. For review, not for diagnosis.'),
            ('model_leaderboard', 'One row per model version, snapshot and split: how it did there.'),
            ('promotion_history', 'One row per act on a model: promote, rollback, withdraw, prune.'),
            ('model_status', 'One row per model version: whether it answers, answered once, or may not again.'),
            ('rejection_summary', 'One row per day (UTC) and reason code.'),
            ('rescore_balance', 'One row per rescore, counted afresh from the rows.'),
            ('rescore_outcome', 'One row per rescore and scan that it was asked for, but for erased ones.'),
            ('same_content_other_patient', 'One row per scored scan and scored scan of another patient with the same picture.'),
            ('scoring_run_balance', 'One row per night, counted afresh from the rows.'),
            ('scoring_run_object_outcome', 'One row per object that a night saw, but for erased ones, and what became of it.'),
            ('withdrawn_model', 'One row per model that is withdrawn now.')
        )
        select oid::regclass as relation, meaning
        from view_comment
        join pg_class on relname = view_name and relnamespace = 'braintumor'::regnamespace
        where obj_description(oid, 'pg_class') is null
    loop
        execute format('comment on view %s is %L', named.relation, named.meaning);
    end loop;

    for named in
        with view_column (view_name, column_name, meaning) as (values
            ('champion', 'model_version_id', 'The champion.'),
            ('champion', 'promoted_at', 'When it became that.'),
            ('prediction_change', 'before_model_name', 'Whose answer stood before it.'),
            ('human_agreement', 'count_frame', 'Frames that people settled.'),
            ('current_prediction', 'model_version_id', 'The model that answered.'),
            ('live_accuracy_weekly', 'count_frame', 'Frames that people settled.'),
            ('model_leaderboard', 'is_champion', 'Whether it is the champion.'),
            ('promotion_history', 'acted_at', 'When it was done.'),
            ('promotion_history', 'model_version_id', 'The model that was acted on.'),
            ('model_status', 'is_champion', 'Whether it is the champion.'),
            ('model_status', 'model_version_id', 'The model.'),
            ('model_status', 'pruned_at', 'When its files were deleted; null while they are there.'),
            ('run_status', 'scoring_run_id', 'The night.'),
            ('rescore_balance', 'asked_at', 'When it was asked for.'),
            ('rescore_balance', 'scoring_run_id', 'The rescore.'),
            ('review_comparison', 'model_version_id', 'The model whose answer is compared.'),
            ('review_worklist', 'model_version_id', 'The model that answered.'),
            ('scoring_run_balance', 'scoring_run_id', 'The night.'),
            ('scoring_run_object_outcome', 'scoring_run_id', 'The night.'),
            ('current_review', 'model_version_id', 'The model whose answer stood when the page was made.'),
            ('time_to_review', 'scored_at', 'When the first answer of a model was written.'),
            ('withdrawn_model', 'model_version_id', 'The withdrawn model.')
        )
        select attrelid::regclass as relation, attname, meaning
        from view_column
        join pg_class on relname = view_name and relnamespace = 'braintumor'::regnamespace
        join pg_attribute on attrelid = pg_class.oid and attname = column_name
        where col_description(attrelid, attnum) is null
    loop
        execute format('comment on column %s.%I is %L', named.relation, named.attname, named.meaning);
    end loop;

    for named in
        with column_comment (column_name, meaning) as (values
            ('acted_at', 'When.'),
            ('action', 'promote, rollback, withdraw or prune.'),
            ('actor', 'Who did it.'),
            ('agreement', 'count_agreed as a share of count_frame.'),
            ('arrival_to_review', 'From the object''s last write in S3 to the first person''s answer.'),
            ('arrival_to_score', 'From the object''s last write in S3 to the first answer of a model.'),
            ('before_class', 'What the answer before it named.'),
            ('before_confidence', 'The confidence of that answer.'),
            ('before_model_name', 'Whose answer stood when it was asked for.'),
            ('changed_at', 'When the new answer came to stand.'),
            ('class_index', 'Population stability index of the classes; null for the test split, and below 100 answers on either side.'),
            ('confidence_index', 'Population stability index of tenths of confidence; null below 100 answers on either side.'),
            ('count_agreed', 'Of these, frames that people and model name alike.'),
            ('count_already_scored', 'Scans that the model had answered before; that answer stands again.'),
            ('count_deferred', 'Objects left to a later run.'),
            ('count_erased', 'Objects or scans whose rows were erased since with the person that they were of.'),
            ('count_failed', 'Scans that ended three workers.'),
            ('count_for_review', 'Of these, frames that a person should look at.'),
            ('count_frame', 'Frames with an answer.'),
            ('count_gone', 'Scans whose object was removed or overwritten.'),
            ('count_ignored', 'Objects that are no scans by rule.'),
            ('count_known', 'Objects settled by an earlier run.'),
            ('count_access', 'Times that the model was judged on this split; more than 1 is said aloud.'),
            ('count_reference', 'Answers of the reference.'),
            ('count_refused', 'Scans that S3 refused.'),
            ('count_rejected', 'Objects rejected in this run.'),
            ('count_rescored', 'Scans whose every frame was answered in the rescore.'),
            ('count_reviewer', 'People who gave a finding.'),
            ('count_scan', 'Scans.'),
            ('count_scored', 'Objects scored in this run.'),
            ('count_superseded', 'Objects overwritten or removed after they were listed.'),
            ('count_unaccounted', 'What the rows do not explain; more than 0 is red.'),
            ('count_unreadable', 'Scans that do not decode any more.'),
            ('first_reviewed_at', 'When the first of them answered.'),
            ('has_been_champion', 'Whether it ever was champion.'),
            ('is_adjudicated', 'The finding is that of an adjudication.'),
            ('is_champion', 'Whether it is, or for a rescore was, the champion.'),
            ('is_override', 'Whether it was promoted over the gate''s head.'),
            ('is_withdrawn', 'Whether it is withdrawn now.'),
            ('last_reviewed_at', 'When the last of them answered.'),
            ('max_tumor_frame_index', 'The frame with max_tumor_probability.'),
            ('max_tumor_probability', 'Highest 1 - probability_normal of one frame.'),
            ('max_tumor_scan_id', 'The scan of that frame.'),
            ('mean_confidence', 'Mean confidence of these answers.'),
            ('mean_glioma', 'Mean probability of glioma over the frames.'),
            ('mean_meningioma', 'Mean probability of meningioma over the frames.'),
            ('mean_normal', 'Mean probability of none of the three tumors over the frames.'),
            ('mean_pituitary', 'Mean probability of pituitary tumor over the frames.'),
            ('model_name', 'The model''s name.'),
            ('model_names', 'The models'' names.'),
            ('other_scan_id', 'The scan of the other patient.'),
            ('outcome', 'What became of it; unaccounted is red.'),
            ('predicted_class', 'The class of the highest probability; of many frames, of the highest mean.'),
            ('reason', 'Why, in a person''s words; of rejections, the reason code.'),
            ('reference', 'What the week is compared to: test split, or weeks before.'),
            ('rejected_date', 'The day (UTC).'),
            ('review_reasons', 'Why a person should look; empty where nothing speaks for it.'),
            ('risk', 'The rank''s name.'),
            ('run_key', 'Names the DAG run or command.'),
            ('run_kind', 'night or rescore: what wrote the new answer.'),
            ('sample', 'audit where the scan was drawn at random before it was scored, else worklist.'),
            ('score_to_review', 'From the first answer of a model to the first person''s.'),
            ('scored_at', 'When it was written; of many frames, the last of them.'),
            ('scored_date', 'The day (UTC).'),
            ('processed_at', 'When it was settled; null while it is pending.'),
            ('share', 'Of the model''s answers of the week.'),
            ('share_glioma', 'Share of the frames that are answered glioma.'),
            ('share_meningioma', 'Share of the frames that are answered meningioma.'),
            ('share_normal', 'Share of the frames that are answered normal.'),
            ('share_pituitary', 'Share of the frames that are answered pituitary.'),
            ('split', 'train, validation or test.'),
            ('week_date', 'Monday of the week (UTC).'),
            ('withdrawal_reason', 'Why it is withdrawn; null where it is not.'),
            ('withdrawn_at', 'When it was withdrawn.'),
            ('risk_rank_at_scoring', 'Its place on the worklist by the reasons that were written with the answer: 3, 5 to 9.')
        ),
        relation_column as (
            select attrelid, relname, relkind, attname, attnum, col_description(attrelid, attnum) as meaning
            from pg_attribute
            join pg_class on pg_class.oid = attrelid
            where relnamespace = 'braintumor'::regnamespace and relkind in ('r', 'v') and attnum > 0 and not attisdropped
        ),
        of_table as (
            select distinct on (attname) attname, meaning
            from relation_column
            where relkind = 'r' and meaning is not null
            order by attname, relname not in ('prediction', 'scan', 'evaluation', 'model_version'), relname
        )
        select
            relation_column.attrelid::regclass as relation,
            relation_column.attname,
            coalesce(column_comment.meaning, of_table.meaning) as meaning
        from relation_column
        left join column_comment on column_comment.column_name = relation_column.attname
        left join of_table on of_table.attname = relation_column.attname
        where relation_column.relkind = 'v'
          and relation_column.meaning is null
          and coalesce(column_comment.meaning, of_table.meaning) is not null
    loop
        execute format('comment on column %s.%I is %L', named.relation, named.attname, named.meaning);
    end loop;
end $$;
