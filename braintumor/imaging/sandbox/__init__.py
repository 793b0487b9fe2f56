"""Run decoders in child processes, so that a crash does not end the worker."""
