"""Batch scoring of brain-tumor MRI: the library behind the DAGs, the command and the review pages.

Imports point one way: ``cli`` -> ``scoring, modeling, evaluation`` -> ``dataset, registry, imaging`` ->
``objectstore, database`` -> ``labels, errors, settings, rulefile``. Nothing here imports airflow, and only
``modeling`` imports keras.
"""
