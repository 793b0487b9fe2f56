-- Records a training. A retry with the same run key and recipe inserts nothing.
insert into training_run (
    run_key, recipe_name, recipe, snapshot_id, initialization, history, code_version, library_versions,
    device, seconds, grouped_accuracy, naive_accuracy, initial_weights_sha256, recipe_override)
values (
    :run_key, :recipe_name, cast(:recipe as jsonb), :snapshot_id, :initialization, cast(:history as jsonb),
    :code_version, cast(:library_versions as jsonb), :device, :seconds,
    :grouped_accuracy, :naive_accuracy, :initial_weights_sha256, cast(:recipe_override as jsonb))
on conflict (run_key, recipe_name) do nothing
