"""HTML reports, plots and the model card."""
