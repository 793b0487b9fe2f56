"""Models: their versions, promotions, files and local cache."""
