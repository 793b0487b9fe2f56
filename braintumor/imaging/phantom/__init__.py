"""Draw synthetic head images with known lesions."""
