"""Score old scans with another model on request, keep the old predictions, and report the changes."""
