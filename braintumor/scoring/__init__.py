"""Score new scans in four steps: discover, plan, score and reconcile.

The table ``scan`` in Postgres is the state, not the clock. Each scan is committed exactly once. One transaction writes
the scan's predictions and its new state, and only for the newest attempt at the scan's chunk. No module here imports
keras or tensorflow.
"""
