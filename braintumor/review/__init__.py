"""Show waiting frames to reviewers, and save their decisions."""
