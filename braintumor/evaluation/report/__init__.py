"""Write model reports, comparisons and model cards."""
