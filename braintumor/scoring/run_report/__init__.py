"""Make the report of one scoring run: statistics, balance, status and metrics."""
