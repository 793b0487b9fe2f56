"""Estimate the accuracy on production scans from blind reviews of the audit sample, and watch it for a drop."""
