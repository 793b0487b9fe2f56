-- The predictions of a model for frames of the audit sample, each with the class that blind reviewers found, and its group.
-- A group has the frames of one patient, or of one content if no patient is known.
select
    review_comparison.finding::text as finding,
    coalesce(scan.patient_pseudonym, scan.content_sha256) as group_key,
    prediction.probability_glioma,
    prediction.probability_meningioma,
    prediction.probability_normal,
    prediction.probability_pituitary
from review_comparison
join prediction using (scan_id, frame_index, model_version_id)
join scan using (scan_id)
where review_comparison.model_version_id = :model and sample = 'audit' and is_blind
  and review_comparison.finding::text = any(enum_range(null::tumor_class)::text[])
order by prediction.scan_id, prediction.frame_index
