-- reviewed_label(minimum, seniors, blind only): one row per frame with a review: its label under a rule, or the reason for having
-- none. Example: which labels have two agreeing reviewers? select * from reviewed_label(2, '{}', false)
-- The finding is that of frame_consensus, so a frame in conflict has no label. The rule asks for an adjudication, a review by a
-- senior reviewer, or enough reviewers. With is_blind_only, other reviews do not count here, but they can still conflict.
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
            count(counting.review_id)::integer as count_reader,
            coalesce(bool_or(counting.purpose = 'adjudication') and bool_or(frame_consensus.is_adjudicated), false) as is_adjudicated,
            coalesce(bool_or(counting.reviewer = any(senior_reader)), false) as is_senior
        from frame_consensus
        left join current_review as counting
            on counting.scan_id = frame_consensus.scan_id
            and counting.frame_index = frame_consensus.frame_index
            and counting.finding = frame_consensus.finding
            and (counting.is_blind or not is_blind_only)
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
            when judged.finding is null then 'no finding'
            when judged.finding in ('other_finding', 'unusable_image') then 'no class: ' || judged.finding
            else 'too few readers'
        end as reason
    from judged
$$;
comment on function reviewed_label(integer, text[], boolean) is
    'One row per frame with a review: its label under a rule (reviewers that must agree, senior reviewers, blind '
    'reviews only), or the reason for having none.';

-- reviewed_location(scans): S3 objects of reviewed scans. Only the trainer can call it, because a key can identify a patient.
-- Scans without a review are not returned. Example: which file is behind the label of scan 17?
create function reviewed_location(scans bigint[])
returns table (scan_id bigint, bucket text, key text, etag text)
language sql stable security definer set search_path = braintumor, pg_temp as $$
    select scan_location.scan_id, scan_location.bucket, scan_location.key, scan_location.etag
    from scan_location
    where scan_location.scan_id = any(scans)
      and exists (select from current_review where current_review.scan_id = scan_location.scan_id)
$$;
comment on function reviewed_location(bigint[]) is
    'S3 objects of reviewed scans, for braintumor_trainer only, because a key can identify a patient.';
