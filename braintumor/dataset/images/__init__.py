"""One labeled image: where it is, how it looks, which patient it shows."""
