"""Read model folders, run inference and make predictions, without TensorFlow. Training writes the model folders."""
