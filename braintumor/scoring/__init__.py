"""Score new scans in four steps: discover, plan, score and reconcile.

The table ``scan`` in Postgres has one row per scan, with its state. A chunk is a group of scans that one task scores.
One transaction writes the predictions of a scan and its new state. Only the newest attempt at a chunk may commit, so
each scan is committed exactly once.
"""
