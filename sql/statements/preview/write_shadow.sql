-- Stores the shadow prediction of one frame. A frame that already has one does not change.
insert into shadow_prediction (
    scan_id, frame_index, model_version_id, run_key, predicted_class, confidence, probability_glioma,
    probability_meningioma, probability_normal, probability_pituitary, activation_map, out_of_distribution)
values (
    :scan_id, :frame_index, :model, :run_key, :predicted_class, :confidence, :probability_glioma,
    :probability_meningioma, :probability_normal, :probability_pituitary, :activation_map, :out_of_distribution)
on conflict do nothing
