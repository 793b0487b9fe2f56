"""Batch scoring of brain-tumor MRI: the library of the DAGs, the command and the review pages.

import-linter checks the layers of packages in ``pyproject.toml``. This library does not import Airflow. Only
``training`` imports Keras.
"""
