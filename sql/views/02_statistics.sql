-- wilson_low(successes, trials), wilson_high(successes, trials): the ends of Wilson's 95% interval of a share; null without
-- trials. Example: 45 of 50 answers were right: between which shares? select wilson_low(45, 50), wilson_high(45, 50).
-- Wilson, Journal of the American Statistical Association 22 (1927) 209. Never outside 0 to 1, and right for few trials.
create function wilson_low(successes bigint, trials bigint) returns double precision
language sql immutable parallel safe as $$
    select case when successes = 0 and trials > 0 then 0  -- where rounding would leave 1e-17
        else (p + z2 / (2 * n) - sqrt(z2 * (p * (1 - p) + z2 / (4 * n)) / n)) / (1 + z2 / n) end
    from (select nullif(trials, 0)::double precision as n, successes::double precision / nullif(trials, 0) as p,
                 1.959963984540054 ^ 2 as z2) as share
$$;
comment on function wilson_low(bigint, bigint) is 'Lower end of Wilson''s 95% interval of a share; null without trials.';

create function wilson_high(successes bigint, trials bigint) returns double precision
language sql immutable parallel safe as $$
    select case when successes = trials and trials > 0 then 1
        else (p + z2 / (2 * n) + sqrt(z2 * (p * (1 - p) + z2 / (4 * n)) / n)) / (1 + z2 / n) end
    from (select nullif(trials, 0)::double precision as n, successes::double precision / nullif(trials, 0) as p,
                 1.959963984540054 ^ 2 as z2) as share
$$;
comment on function wilson_high(bigint, bigint) is 'Upper end of Wilson''s 95% interval of a share; null without trials.';

-- stability_index(reference, observed): population stability index of two histograms, JSON objects of bin and count; null
-- where one has no count. Example: select stability_index('{"glioma": 50, "normal": 50}', '{"glioma": 90, "normal": 10}').
-- Half a count is added to each bin that either has, so that none is empty.
create function stability_index(reference jsonb, observed jsonb) returns double precision
language sql immutable parallel safe as $$
    with bin as (
        select
            coalesce(before.value::double precision, 0) + 0.5 as before,
            coalesce(after.value::double precision, 0) + 0.5 as after
        from jsonb_each_text(reference) as before
        full join jsonb_each_text(observed) as after using (key)
    ),
    share as (
        select before / sum(before) over () as before, after / sum(after) over () as after from bin
    )
    select sum((after - before) * ln(after / before))
    from share
    where reference <> '{}' and observed <> '{}'
$$;
comment on function stability_index(jsonb, jsonb) is
    'Population stability index of two histograms (JSON: bin -> count); above 0.25 is commonly called a shift.';

-- confidence_bin(confidence): the tenth that a confidence lies in, 0 to 9. Example: how sure are the answers, in tenths?
create function confidence_bin(confidence double precision) returns integer language sql immutable parallel safe as $$
    select least(9, floor(10 * confidence))::integer
$$;
comment on function confidence_bin(double precision) is 'The tenth that a confidence lies in, 0 to 9.';
