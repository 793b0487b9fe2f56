"""The Postgres schema: connections, migrations, roles and saved queries."""
