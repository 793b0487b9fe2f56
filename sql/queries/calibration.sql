-- Is the confidence calibrated: with how many audited predictions of each confidence band do blind reviewers agree?
select
    braintumor.confidence_bin(confidence) / 10.0 as confidence_from,
    count(*) as count_frame,
    avg(confidence) as mean_confidence,
    avg(is_agreed::integer)::double precision as agreement,
    braintumor.wilson_low(count(*) filter (where is_agreed), count(*)) as agreement_low,
    braintumor.wilson_high(count(*) filter (where is_agreed), count(*)) as agreement_high
from braintumor.review_comparison
where sample = 'audit' and is_blind
group by confidence_from
order by confidence_from;
