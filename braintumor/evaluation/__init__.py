"""Judge a model on a split: metrics, the gate that passes or refuses it, plots, and reports people can read."""
