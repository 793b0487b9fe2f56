"""Batch scoring of brain-tumour MRI: the library behind the DAGs, the command and the review pages.

Imports point one way: ``cli`` -> ``scoring, modelling, evaluation`` -> ``dataset, registry, imaging`` ->
``objectstore, database`` -> ``labels, errors, settings, rulefile``. Nothing here imports airflow, and only
``modelling`` imports keras.
"""
