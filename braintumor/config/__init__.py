"""Read settings, environment variables and rule files, and redact secrets."""
