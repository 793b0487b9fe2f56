"""Manage the Postgres schema: connections, migrations, views, roles and saved queries."""
