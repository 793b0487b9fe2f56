"""Settings, environment variables, rule files and the redaction of secrets."""
