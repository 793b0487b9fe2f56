-- Records a request and selects its scans in one statement, so that both use the same matching scans.
with matching as (
    select distinct on (current_prediction.scan_id)
        current_prediction.scan_id,
        current_prediction.model_version_id,
        current_prediction.scored_at
    from current_prediction
    left join withdrawn_model using (model_version_id)
    where current_prediction.model_version_id <> :model
      and (case when :is_named then current_prediction.model_name = any(cast(:of as text[]))
                else withdrawn_model.model_version_id is not null end)
      and current_prediction.scored_at >= coalesce(cast(:since as timestamptz), '-infinity')
      and current_prediction.scored_at < coalesce(cast(:until as timestamptz), 'infinity')
    order by current_prediction.scan_id, current_prediction.scored_at desc
),
numbered as (
    select scan_id, model_version_id, row_number() over (order by scored_at desc, scan_id desc) - 1 as place
    from matching
),
selected as (
    select scan_id, model_version_id, place from numbered where place < :limit
),
opened as (
    insert into rescore_run (
        scoring_run_id, is_champion, actor, reason, asked_for, count_matching, count_asked)
    select
        :run, :is_champion, :actor, :reason, cast(:asked_for as jsonb),
        (select count(*) from matching), (select count(*) from selected)
)
insert into rescore (scoring_run_id, scan_id, chunk_number, before_model_version_id)
select :run, scan_id, place / :chunk_size, model_version_id from selected
