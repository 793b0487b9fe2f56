-- The days with predictions, newest first, with one index access per day. `distinct` would read all predictions.
with recursive scored as (
    (select (scored_at at time zone 'utc')::date as day from prediction order by day desc limit 1)
    union all
    select (
        select (scored_at at time zone 'utc')::date as earlier
        from prediction
        where (scored_at at time zone 'utc')::date < scored.day
        order by earlier desc
        limit 1)
    from scored
    where day is not null
)
select day from scored where day is not null
