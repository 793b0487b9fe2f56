"""Measure speed as ratios within one run. On a shared machine only the ratios are meaningful."""

import braintumor.training  # noqa: F401, because it hides TensorFlow's start-up messages
