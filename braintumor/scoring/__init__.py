"""A night: discover, plan, score, reconcile. The ledger in Postgres is the truth, not the clock.

A scan is settled exactly once: its predictions and its new state commit in one transaction, and only for the newest
attempt at its chunk. Nothing here imports keras or tensorflow.
"""
