-- Agreement of reviewers with the model, in the blind audit sample and on the worklist.
select
    name,
    coalesce(sum(count_frame), 0)::integer as count_answer,
    coalesce(sum(count_agreed), 0)::integer as count_same
from (values
    ('the audit sample, read blind', 'audit', true), ('the worklist, picked by risk', 'worklist', false)
) as kind (name, sample, is_blind)
left join human_agreement
    on human_agreement.sample = kind.sample and human_agreement.is_blind = kind.is_blind and predicted_class is null
group by name, kind.sample
order by kind.sample
