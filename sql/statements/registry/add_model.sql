-- Registers a model. A retry with the same training run and precision inserts nothing.
insert into model_version (
    model_name, training_run_id, backbone, precision, image_size, preprocessing, count_parameter,
    artifact_uri, artifact_sha256s, temperature, out_of_distribution_above, prediction_sets,
    parent_model_version_id)
values (
    :model_name, :training_run_id, :backbone, :precision, :image_size, :preprocessing, :count_parameter,
    :artifact_uri, cast(:artifact_sha256s as jsonb), :temperature, :out_of_distribution_above,
    cast(:prediction_sets as jsonb), :parent)
on conflict (training_run_id, precision) do nothing
