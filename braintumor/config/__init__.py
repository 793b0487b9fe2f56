"""Settings, environment variables, rule files and what must not be logged."""
