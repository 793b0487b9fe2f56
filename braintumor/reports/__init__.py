"""Render self-contained HTML pages with one base template, and store them."""
