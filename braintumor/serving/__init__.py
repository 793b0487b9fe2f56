"""A trained model as files, and the engine that runs it: what training writes and scoring reads. No TensorFlow."""
