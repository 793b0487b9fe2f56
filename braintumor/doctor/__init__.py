"""Check an installation for ``braintumor doctor``: settings, S3, Postgres, the champion and this machine."""
