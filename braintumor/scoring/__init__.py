"""Run scoring: discover, plan, score, reconcile. The scan table in Postgres is the state, not the clock.

Each scan is committed exactly once. Its predictions and its new state commit in one transaction, and only for the
newest attempt at its chunk. Nothing here imports keras or tensorflow.
"""
