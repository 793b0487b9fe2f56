-- How often do blind reviewers agree with the model on the audit sample, by month of scoring, and with which 95% interval?
select
    date_trunc('month', scored_at at time zone 'utc')::date as month_date,
    model_name,
    count(*) as count_frame,
    avg(is_agreed::integer)::double precision as agreement,
    braintumor.wilson_low(count(*) filter (where is_agreed), count(*)) as agreement_low,
    braintumor.wilson_high(count(*) filter (where is_agreed), count(*)) as agreement_high
from braintumor.review_comparison
where sample = 'audit' and is_blind
group by month_date, model_name
order by month_date, model_name;
