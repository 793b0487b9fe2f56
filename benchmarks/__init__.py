"""Measure speed as ratios within one run. On a shared machine only the ratios are meaningful."""
