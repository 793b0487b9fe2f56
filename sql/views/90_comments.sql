-- A view's column without a comment of its own has that of the table's column with the same name. source says which tables the
-- columns of a view come from, in order of precedence.
do $$
declare
    inherited record;
begin
    for inherited in
        with source (view_name, table_name, precedence) as (values
            ('current_prediction', 'prediction', 1),
            ('current_prediction', 'scan', 2),
            ('current_prediction', 'model_version', 3),
            ('prediction_history', 'prediction', 1),
            ('prediction_history', 'scan', 2),
            ('prediction_history', 'model_version', 3),
            ('run_status', 'scoring_run_summary', 1),
            ('run_status', 'scoring_run', 2),
            ('rescore_balance', 'rescore_run', 1),
            ('rejected_scan', 'rejection', 1),
            ('model_leaderboard', 'evaluation', 1),
            ('model_leaderboard', 'model_version', 2),
            ('model_leaderboard', 'training_run', 3),
            ('evaluated_image', 'test_prediction', 1),
            ('evaluated_image', 'evaluation', 2),
            ('evaluated_image', 'snapshot_image', 3),
            ('model_slice', 'evaluation_slice', 1),
            ('model_slice', 'evaluation', 2),
            ('scan_prediction', 'scan', 1),
            ('study_prediction', 'scan', 1),
            ('current_review', 'review', 1),
            ('frame_consensus', 'review', 1),
            ('review_worklist', 'prediction', 1),
            ('review_worklist', 'scan', 2),
            ('review_worklist', 'model_version', 3),
            ('audit_review', 'review', 1),
            ('audit_consensus', 'review', 1),
            ('audited_scan', 'prediction', 1),
            ('audited_scan', 'scan', 2),
            ('live_accuracy', 'live_accuracy_figure', 1),
            ('live_accuracy', 'scoring_run_summary', 2),
            ('review_comparison', 'prediction', 1),
            ('time_to_review', 'prediction', 1),
            ('time_to_review', 'scan', 2),
            ('prediction_change', 'prediction', 1),
            ('scan_subgroup', 'scan', 1)
        )
        select distinct on (of_view.attrelid, of_view.attnum)
            of_view.attrelid::regclass as relation,
            of_view.attname,
            col_description(of_table.attrelid, of_table.attnum) as meaning
        from source
        join pg_attribute as of_view on of_view.attrelid = view_name::regclass
        join pg_attribute as of_table on of_table.attrelid = table_name::regclass and of_table.attname = of_view.attname
        where of_view.attnum > 0 and not of_view.attisdropped and of_table.attnum > 0 and not of_table.attisdropped
          and col_description(of_view.attrelid, of_view.attnum) is null
        order by of_view.attrelid, of_view.attnum, precedence
    loop
        execute format('comment on column %s.%I is %L', inherited.relation, inherited.attname, inherited.meaning);
    end loop;
end $$;
