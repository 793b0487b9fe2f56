"""Run decoders in processes that may crash without ending the worker."""
