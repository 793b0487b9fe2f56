"""Labels that reviewers gave to scored frames, and the rules that let them into training."""
