"""Score old scans with another model, beside the old rows: asked for by name, exactly once, and what it changed."""
