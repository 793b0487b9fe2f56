-- Frames of a snapshot whose labels are from reviews, by class and by the rule that gave the label.
select label::text as label, label_source::text as label_source, rules_version, count(*) as count_frame
from snapshot_review
where snapshot_id = :snapshot and reason is null
group by snapshot_review.label, snapshot_review.label_source, rules_version
order by snapshot_review.label, snapshot_review.label_source, rules_version
