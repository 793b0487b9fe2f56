"""Measure the speed of this project relative to another method or variant that is measured in the same run.

On a shared machine, only such ratios are meaningful.
"""

import braintumor.training  # noqa: F401, because it hides TensorFlow's start-up messages
