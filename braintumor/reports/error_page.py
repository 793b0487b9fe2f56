"""Render an error as a page for people."""

from __future__ import annotations

from pathlib import Path

from braintumor.reports.jinja import page_environment

_TITLES = {
    401: "Sign in to see this page",
    403: "You have no permission for this page",
    404: "This page does not exist",
    422: "The request is not valid",
    503: "This page is not available now",
}


def error_page(
    status: int, detail: str, *, login: str = "", home: tuple[str, str] = ("", ""), airflow: str = "/"
) -> str:
    """Return the page of an error as HTML.

    Args:
        status: HTTP status.
        detail: what is wrong and what to do.
        login: URL of the login page that leads back to the requested page. If it is empty, the page has no such link.
        home: URL and name of the first page of the app. If the name is empty, the page has no such link.
        airflow: URL of Airflow.
    """
    template = page_environment(Path(__file__).with_name("templates")).get_template("error.html")
    title = _TITLES.get(status, "This page cannot be shown")
    return template.render(
        title=title, status=status, detail=detail, login=login, home=home[0], home_name=home[1], airflow=airflow
    )
