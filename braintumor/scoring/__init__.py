"""Score new scans in four steps: discover, plan, score and reconcile.

The table ``scan`` in Postgres is the state. Each scan is committed exactly once: one transaction writes its predictions
and its new state, and only for the newest attempt at its chunk.
"""
