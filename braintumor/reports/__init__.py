"""Render self-contained HTML pages from one base template, and store the pages in S3."""
