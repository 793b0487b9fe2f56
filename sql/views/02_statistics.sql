-- wilson_low(successes, trials), wilson_high(successes, trials): ends of the 95% Wilson interval of a share; null without trials.
-- Example: 45 of 50 predictions were correct. What is the interval? select wilson_low(45, 50), wilson_high(45, 50).
-- Source: Wilson, Journal of the American Statistical Association 22 (1927) 209. The interval is within 0 to 1 and
-- suits few trials. A weighted share has the effective number of trials, which need not be whole.
create function wilson_low(successes double precision, trials double precision) returns double precision
language sql immutable parallel safe as $$
    select case when successes = 0 and trials > 0 then 0  -- where rounding would leave 1e-17
        else (p + z2 / (2 * n) - sqrt(z2 * (p * (1 - p) + z2 / (4 * n)) / n)) / (1 + z2 / n) end
    from (select nullif(trials, 0) as n, successes / nullif(trials, 0) as p,
                 1.959963984540054 ^ 2 as z2) as share
$$;
comment on function wilson_low(double precision, double precision) is
    'Lower end of the 95% Wilson interval of a share; null without trials.';

create function wilson_high(successes double precision, trials double precision) returns double precision
language sql immutable parallel safe as $$
    select case when successes = trials and trials > 0 then 1
        else (p + z2 / (2 * n) + sqrt(z2 * (p * (1 - p) + z2 / (4 * n)) / n)) / (1 + z2 / n) end
    from (select nullif(trials, 0) as n, successes / nullif(trials, 0) as p,
                 1.959963984540054 ^ 2 as z2) as share
$$;
comment on function wilson_high(double precision, double precision) is
    'Upper end of the 95% Wilson interval of a share; null without trials.';

-- stability_index(reference, observed): population stability index of two histograms, which are JSON objects of bin and count;
-- null if one is empty. Example: select stability_index('{"glioma": 50, "normal": 50}', '{"glioma": 90, "normal": 10}').
-- Half a count is added to each bin, because an empty bin has no logarithm.
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
    'Population stability index of two histograms (JSON: bin -> count). A value above 0.25 is commonly called a '
    'shift.';

-- confidence_bin(confidence): the tenth that contains a confidence, 0 to 9. Example: how are confidences distributed?
create function confidence_bin(confidence double precision) returns integer language sql immutable parallel safe as $$
    select least(9, floor(10 * confidence))::integer
$$;
comment on function confidence_bin(double precision) is 'The tenth that contains a confidence, 0 to 9.';

-- likeliest_class(glioma, meningioma, normal, pituitary): class of the highest of four probabilities, the first on a tie.
-- Example: select likeliest_class(0.1, 0.2, 0.6, 0.1).
create function likeliest_class(
    glioma double precision, meningioma double precision, normal double precision, pituitary double precision
)
returns tumor_class language sql immutable parallel safe
return (
    case greatest(glioma, meningioma, normal, pituitary)
        when glioma then 'glioma'
        when meningioma then 'meningioma'
        when normal then 'normal'
        else 'pituitary'
    end::tumor_class
);
comment on function likeliest_class(double precision, double precision, double precision, double precision) is
    'Class of the highest of four probabilities, the first on a tie.';

-- distinct_reasons(reasons_by_frame): the distinct review reasons of many frames, sorted. The argument is a JSON array of arrays.
-- Example: select distinct_reasons('[["several_classes"], [], ["several_classes", "audit_sample"]]').
create function distinct_reasons(reasons_by_frame jsonb) returns text[] language sql immutable parallel safe as $$
    select array(
        select distinct reason
        from jsonb_array_elements(reasons_by_frame) as of_frame
        cross join jsonb_array_elements_text(of_frame) as reason
        order by reason)
$$;
comment on function distinct_reasons(jsonb) is
    'The distinct review reasons of many frames (JSON array of arrays), sorted.';
