"""Model versions, promotions, files and the local cache."""
