-- What makes a page of the worklist, a day's summary and rows in bulk quick among ten million answers.

set local search_path = braintumor;

alter table prediction
    add column risk_rank smallint not null generated always as (
        case
            when 'out_of_distribution' = any(review_reasons) then 3
            when 'model_disagreement' = any(review_reasons) then 5
            when 'near_tie' = any(review_reasons) then 6
            when 'low_confidence' = any(review_reasons) then 7
            when predicted_class <> 'normal' then 8
            else 9
        end) stored,
    add column is_settled boolean not null default false,
    add column is_conflict boolean not null default false;
comment on column prediction.risk_rank is
    'Its place on the worklist by what was known when it was written, 3 first: out_of_distribution 3, model_disagreement 5, '
    'near_tie 6, low_confidence 7, another tumor 8, another normal 9. review_worklist.risk_rank adds 1, 2 and 4.';
comment on column prediction.is_settled is
    'People have settled the frame, as frame_consensus says: kept by triggers on review and review_retraction, so that the index '
    'of the worklist holds only what is open.';

comment on column prediction.is_conflict is 'People see the frame differently, as frame_consensus says: kept as is_settled is.';

-- What frame_consensus says of a frame is kept on its answers, in the transaction of what a person said or took back. Run with
-- its owner's rights: a reviewer changes no prediction.
create function keep_settled() returns trigger language plpgsql security definer
set search_path = braintumor, pg_temp as $$
declare
    frame record;
begin
    if tg_table_name = 'review' then
        frame := new;
    else
        select * into frame from review where review.review_id = new.review_id;
    end if;
    perform from scan where scan.scan_id = frame.scan_id for no key update;  -- two people at once: one after the other
    update prediction
    set is_settled = verdict.is_settled, is_conflict = verdict.is_conflict
    from (
        select coalesce(bool_or(frame_consensus.is_settled), false) as is_settled,
               coalesce(bool_or(frame_consensus.is_conflict), false) as is_conflict
        from frame_consensus
        where frame_consensus.scan_id = frame.scan_id and frame_consensus.frame_index = frame.frame_index
    ) as verdict
    where prediction.scan_id = frame.scan_id
      and prediction.frame_index = frame.frame_index
      and (prediction.is_settled, prediction.is_conflict) <> (verdict.is_settled, verdict.is_conflict);
    return null;
end $$;
create trigger review_settles_its_frame after insert on review for each row execute function keep_settled();
create trigger review_retraction_opens_its_frame after insert on review_retraction
    for each row execute function keep_settled();

-- A page of the worklist: of each model that answered, what is open, riskiest and least sure first.
create index prediction_by_risk on prediction (model_version_id, risk_rank, confidence) where not is_settled;

-- The frames of a page that only what people said makes risky.
create index prediction_in_conflict on prediction (scan_id, frame_index) where is_conflict;

-- The scans of a page that only other patients' scans make risky: to compare all scans for it takes seconds.
create table cross_patient_duplicate (
    scan_id  bigint primary key references scan on delete cascade
);
comment on table cross_patient_duplicate is
    'One row per scan that same_content_other_patient named when a night was reconciled: where the worklist looks first. The '
    'view is the truth; a scan that it does not name any more counts for nothing here.';
comment on column cross_patient_duplicate.scan_id is 'The scan.';
insert into cross_patient_duplicate
select distinct scan.scan_id
from scan
join scan as other using (pixel_sha256)
where other.patient_pseudonym <> scan.patient_pseudonym and other.state = 'scored' and scan.state = 'scored';

-- A day of daily_summary, a range of days, and scored_at by its day; it takes the place of the index by scored_at alone.
create index prediction_by_date on prediction (((scored_at at time zone 'utc')::date));
drop index prediction_by_time;

-- One key instead of two, which were a third of the time of a COPY, and a truer one: an answer's model is its run's.
alter table scoring_run add unique (scoring_run_id, model_version_id);
alter table prediction
    drop constraint prediction_model_version_id_fkey,
    drop constraint prediction_scoring_run_id_fkey,
    add foreign key (scoring_run_id, model_version_id) references scoring_run (scoring_run_id, model_version_id) deferrable;
