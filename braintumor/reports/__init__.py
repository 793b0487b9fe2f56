"""The one look of every page that is handed out: a base template, and the environment that renders it."""
