"""Show reviewers the frames that wait for a review, and save the reviewers' decisions."""
