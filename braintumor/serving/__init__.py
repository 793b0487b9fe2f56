"""Model folders, inference backends and predictions. Training writes the folders, scoring reads them. No TensorFlow."""
