"""Measure the review page in a real browser: the time until the worklist is complete, and pauses while scrolling.

::

    python -m benchmarks.page --count 200

The benchmark starts a whole stack with Airflow, and scores JPEG files of 512 x 512 pixels. Chromium runs on the same
cores. It opens each page of the worklist, scrolls it from top to bottom, and records every drawn frame. At 60 frames a
second, frames are 17 ms apart. A frame that comes 50 ms or more after the last one is a visible pause.

The first load of the first page is printed apart. In the loads after it ("warm"), thumbnails come from the server's
memory.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import click
from playwright.sync_api import Page

from benchmarks.scoring_stack import scoring_stack
from braintumor.review.worklist import PAGE_SIZE
from devstack.browser import signed_in

_REVIEW = "/braintumor/review/"
_STUTTER_MS = 50
_OPENED = 10
"""Number of loads of the first page."""


@click.command()
@click.option("--count", default=200, show_default=True, help="Scans of the run, a thumbnail each.")
def main(count: int) -> None:
    """Print the times of the first page and of all thumbnails, and the longest pause while scrolling."""
    with scoring_stack("resnet50", count, airflow=True) as made:
        made.promote(made.models["fp32"])
        made.scoring_speed()()
        with signed_in(made.stack, "reviewer") as page:
            address = made.stack.airflow.url + _REVIEW
            opened = [_open(page, address) for _ in range(_OPENED)]
            click.echo(f"first page of {count} scans, HTML: {_spread([each['html'] for each in opened])}")
            click.echo(f"the same, with what it shows at once: {_spread([each['load'] for each in opened])}")
            pauses: list[float] = []
            seconds, images = 0.0, 0
            for number in range(-(-count // PAGE_SIZE)):
                _open(page, f"{address}?page={number}")
                found = page.evaluate(_SCROLL)
                pauses += found["pauses"]
                seconds, images = seconds + found["seconds"], images + found["images"]
            stutters = sum(pause >= _STUTTER_MS for pause in pauses)
            click.echo(
                f"{images} thumbnails, scrolled through in {seconds:.1f} s: {len(pauses)} frames drawn, {stutters} of "
                f"them {_STUTTER_MS} ms or more after the last, the longest {max(pauses):.0f} ms"
            )


def _open(page: Page, address: str) -> dict[str, float]:
    """Return milliseconds from the request to the last byte of the page, and to the images on the first screen."""
    page.goto(address, wait_until="load")
    times: dict[str, Any] = page.evaluate("performance.getEntriesByType('navigation')[0].toJSON()")
    return {"html": times["responseEnd"] - times["requestStart"], "load": times["loadEventEnd"] - times["requestStart"]}


def _spread(times: list[float]) -> str:
    first, *warm = times
    return f"first load {first:.0f} ms; {len(warm)} warm: median {median(warm):.0f} ms, longest {max(warm):.0f} ms"


_SCROLL = """async () => {
  const pauses = [];
  let isOver = false;
  let last = await new Promise(requestAnimationFrame);
  const begun = last;
  const watch = (now) => { pauses.push(now - last); last = now; if (!isOver) requestAnimationFrame(watch); };
  requestAnimationFrame(watch);
  const end = document.documentElement.scrollHeight;
  for (let at = 0; at < end; at += 40) {
    window.scrollTo(0, at);
    await new Promise(requestAnimationFrame);
  }
  const isShown = () => [...document.images].every((image) => image.complete && image.naturalWidth > 0);
  while (!isShown()) await new Promise(requestAnimationFrame);
  isOver = true;
  return { pauses, images: document.images.length, seconds: (performance.now() - begun) / 1000 };
}"""


if __name__ == "__main__":
    main()
