"""Manage model versions, promotions, model files and the local model cache."""
