-- reviewed_label(minimum, seniors, blind only): one row per frame that somebody answered: its label under a rule, and why, or
-- why it has none. Example: which labels did two agreeing readers make? select * from reviewed_label(2, '{}', false)
-- The finding is that of frame_consensus, so a frame in conflict has no label, whoever answered. The rule says whether it is
-- enough: an adjudication, an answer of a senior reader, or so many readers. is_blind_only: other answers count for nothing
-- here, but can still disagree.
create function reviewed_label(minimum_reader integer, senior_reader text[], is_blind_only boolean)
returns table (
    scan_id bigint, frame_index integer, label tumor_class, label_source label_source, count_reader integer, reason text
)
language sql stable security definer set search_path = braintumor, pg_temp as $$
    with counted as (
        select
            frame_consensus.scan_id,
            frame_consensus.frame_index,
            frame_consensus.finding,
            frame_consensus.is_conflict,
            count(answer.review_id)::integer as count_reader,
            coalesce(bool_or(answer.purpose = 'adjudication') and bool_or(frame_consensus.is_adjudicated), false) as is_adjudicated,
            coalesce(bool_or(answer.reviewer = any(senior_reader)), false) as is_senior
        from frame_consensus
        left join current_review as answer
            on answer.scan_id = frame_consensus.scan_id
            and answer.frame_index = frame_consensus.frame_index
            and answer.finding = frame_consensus.finding
            and (answer.is_blind or not is_blind_only)
        group by frame_consensus.scan_id, frame_consensus.frame_index, frame_consensus.finding, frame_consensus.is_conflict
    ),
    judged as (
        select
            counted.*,
            case
                when finding is null or finding not in ('glioma', 'meningioma', 'normal', 'pituitary') then null
                when is_adjudicated then 'adjudicated'
                when is_senior then 'senior_reader'
                when count_reader >= minimum_reader then 'readers'
            end::label_source as label_source
        from counted
    )
    select
        judged.scan_id,
        judged.frame_index,
        case when judged.label_source is not null then judged.finding::text::tumor_class end as label,
        judged.label_source,
        judged.count_reader,
        case
            when judged.label_source is not null then null
            when judged.is_conflict then 'readers disagree'
            when judged.finding is null then 'nobody could tell'
            when judged.finding in ('other_finding', 'unusable_image') then 'no class: ' || judged.finding
            else 'too few readers'
        end as reason
    from judged
$$;
comment on function reviewed_label(integer, text[], boolean) is
    'One row per frame that somebody answered: its label under a rule (readers who must agree, senior readers whose one answer '
    'is enough, blind answers only), and why, or why it has none.';

-- reviewed_location(scans): where reviewed scans lie; a key can identify, so only who makes labeled images may call it, and
-- learns of no scan that nobody answered. Example: where is the file behind the label of scan 17?
create function reviewed_location(scans bigint[])
returns table (scan_id bigint, bucket text, key text, etag text)
language sql stable security definer set search_path = braintumor, pg_temp as $$
    select scan_location.scan_id, scan_location.bucket, scan_location.key, scan_location.etag
    from scan_location
    where scan_location.scan_id = any(scans)
      and exists (select from current_review where current_review.scan_id = scan_location.scan_id)
$$;
comment on function reviewed_location(bigint[]) is
    'Where reviewed scans lie; keys can identify, so it is for braintumor_trainer alone.';
