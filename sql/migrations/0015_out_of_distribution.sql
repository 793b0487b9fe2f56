-- How far a frame is from what the model was trained on, and a threshold of confidence for each class.

set local search_path = braintumor;

alter table prediction add column out_of_distribution real;
comment on column prediction.out_of_distribution is
    'Mean cosine distance (0 to 2) to the 5 nearest embeddings of training images; null where the model has none to compare '
    'with. Comparable within one model, not between models.';

alter table shadow_prediction add column out_of_distribution real;
comment on column shadow_prediction.out_of_distribution is 'As prediction.out_of_distribution.';

alter table model_version
    alter column low_confidence_below type jsonb using jsonb_build_object(
        'glioma', low_confidence_below, 'meningioma', low_confidence_below,
        'normal', low_confidence_below, 'pituitary', low_confidence_below),
    add column out_of_distribution_above double precision;
comment on column model_version.low_confidence_below is
    'Class -> confidence below which an answer that names it has the review reason low_confidence.';
comment on column model_version.out_of_distribution_above is
    'Scores above it have the review reason out_of_distribution; null where the model has no reference embeddings.';
