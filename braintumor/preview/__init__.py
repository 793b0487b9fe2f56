"""The flip preview: which answers of production would change if a candidate became champion. Never shown as answers."""
