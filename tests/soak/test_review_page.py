"""Test the review page in headless Chromium, and its permissions."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from PIL import Image
from playwright.sync_api import Page, expect

from braintumor.config.settings import Settings
from braintumor.s3 import ObjectStore, S3Uri
from devstack.airflowapi import AirflowClient
from devstack.stack import Stack
from tests.browser import signed_in
from tests.live_stack import library, live_stack
from tests.review.conftest import AUDITED, SCRIPT, write_night
from tests.sql import change, rows

pytestmark = pytest.mark.soak

_REVIEW = "/braintumor/review"
_READS = (
    "/",
    "/dashboard",
    "/frame/1/0",
    "/image/1/0.png",
    "/thumbnail/1/0.png",
    "/map/1/0.png",
    "/review.js",
    "/review.css",
)
_WRITES = ("/sessions", "/reviews", "/retractions")


@pytest.fixture(scope="module")
def live(seeded: Settings, tiny_model_folder: Path, airflow_dump: Path) -> Iterator[Stack]:
    """Start a stack with waiting scans: a key with a script, one scan of the audit sample, and a volume."""
    extra = {"BRAINTUMOR_VIEWER_URL": "https://viewer.example/{study}"}
    with live_stack(seeded, tiny_model_folder, airflow_dump, extra) as stack:
        settings = library(stack)
        write_night(settings)
        change(
            settings,
            "update prediction set review_reasons = case scan_id when 1 then '{several_classes}'::text[] else '{}' end",
        )
        change(settings, f"update scan set audit_probability = case scan_id when {AUDITED} then 0.02 end")
        yield stack


@pytest.fixture
def page(live: Stack) -> Iterator[Page]:
    """Open a browser as the reviewer. A script error fails the test."""
    with signed_in(live, "reviewer", height=900, timeout_ms=30_000) as opened:
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
        assert not errors


def client(live: Stack, name: str) -> AirflowClient:
    return AirflowClient(live.airflow.url, name, getattr(live.state.secrets, f"{name}_password"))


def decision(scan_id: int, finding: str = "glioma", **values: object) -> dict[str, object]:
    known = {"request_key": uuid.uuid4().hex, "scan_id": scan_id, "frame_index": 0, "model_version_id": 1}
    return {**known, "finding": finding, **values}


def show(live: Stack, name: str, given: dict[str, object]) -> None:
    """Request the image of a frame, as its page does."""
    url = f"{_REVIEW}/image/{given['scan_id']}/{given['frame_index']}.png?request_key={given['request_key']}"
    client(live, name).send("GET", url)


def test_only_viewers_can_read_and_only_reviewers_can_write(live: Stack) -> None:
    before = rows(library(live), "select review_id from review")
    for path in _READS:
        assert requests.get(f"{live.airflow.url}{_REVIEW}{path}", timeout=30).status_code == 401, path
        found = client(live, "viewer").send("GET", _REVIEW + path)
        assert "no-referrer" in found.headers["Referrer-Policy"] and "default-src 'none'" in str(found.headers)
    bodies = {"/sessions": {"minutes": 5}, "/reviews": decision(1), "/retractions": {}}
    for path in _WRITES:
        assert requests.post(f"{live.airflow.url}{_REVIEW}{path}", json={}, timeout=30).status_code == 401, path
        refused = client(live, "viewer").send("POST", _REVIEW + path, json=bodies[path], allow=(403,))
        assert refused.status_code == 403, path
        as_form = client(live, "reviewer").send("POST", _REVIEW + path, data="{}", allow=(415,))
        assert as_form.status_code == 415, "a form of another site could send this"
    for path in ("/openapi.json", "/docs", "/..%2f..%2fsettings.py"):
        assert client(live, "reviewer").send("GET", _REVIEW + path, allow=(404,)).status_code == 404
    assert rows(library(live), "select review_id from review") == before


def test_image_is_png_and_responses_contain_no_object_key(live: Stack) -> None:
    viewer = client(live, "viewer")
    image = viewer.send("GET", f"{_REVIEW}/image/1/0.png")
    assert Image.open(io.BytesIO(image.content)).format == "PNG" and "no-store" in image.headers["Cache-Control"]
    for path in ("/image/99/0.png", "/image/1/7.png", "/frame/99/0"):
        missing = viewer.send("GET", _REVIEW + path, allow=(404,))
        assert missing.status_code == 404 and "prediction for frame" in missing.json()["detail"]
    assert viewer.send("GET", f"{_REVIEW}/map/{AUDITED}/0.png", allow=(403,)).status_code == 403
    assert "hacked" not in viewer.send("GET", f"{_REVIEW}/").text + viewer.send("GET", f"{_REVIEW}/frame/1/0").text


def test_concurrent_reviewers_save_one_review_each(live: Stack) -> None:
    asked = [
        (client(live, name), decision(5, finding)) for name, finding in (("admin", "normal"), ("reviewer", "glioma"))
    ]
    for name, (_, given) in zip(("admin", "reviewer"), asked, strict=True):
        show(live, name, given)
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda each: each[0].send("POST", f"{_REVIEW}/reviews", json=each[1]).json(), asked * 4))
    assert len({each["review_id"] for each in sent}) == 2
    found = rows(library(live), "select reviewer, finding::text from review where scan_id = 5 order by reviewer")
    assert found == [("admin", "normal"), ("reviewer", "glioma")]


def test_decision_before_image_delivery_is_refused(live: Stack) -> None:
    before = rows(library(live), "select review_id from review")
    given, reviewer = decision(5, "normal"), client(live, "reviewer")
    show(live, "admin", given)
    show(live, "reviewer", decision(5))
    show(live, "reviewer", {**given, "scan_id": 3})
    refused = reviewer.send("POST", f"{_REVIEW}/reviews", json=given, allow=(409,))
    assert refused.status_code == 409 and "Reload the page" in refused.json()["detail"]
    assert rows(library(live), "select review_id from review") == before
    show(live, "reviewer", given)
    saved = reviewer.send("POST", f"{_REVIEW}/reviews", json=given).json()
    unusable = reviewer.send("POST", f"{_REVIEW}/reviews", json=decision(5, "unusable_image")).json()
    found = rows(library(live), "select finding::text from review where review_id = any(:ids) order by review_id",
                 ids=[saved["review_id"], unusable["review_id"]])  # fmt: skip
    assert found == [("normal",), ("unusable_image",)]


def test_only_unusable_image_key_works_without_image(live: Stack, page: Page) -> None:
    settings = library(live)
    before = rows(settings, "select review_id from review")
    page.route("**/image/**", lambda route: route.fulfill(status=503, json={"detail": "S3 is away."}))
    page.goto(f"{live.airflow.url}{_REVIEW}/frame/2/0")
    expect(page.get_by_text("S3 is away.")).to_be_visible()
    for key in ("2", "0", "Enter"):
        page.keyboard.press(key)
        expect(page.locator("#status")).to_have_text(
            "Not saved: the image of this frame was not loaded. Reload the page, or press 6 for an unusable image."
        )
    assert rows(settings, "select review_id from review") == before
    with page.expect_navigation():
        page.keyboard.press("6")
    newest = "select scan_id, finding::text from review order by review_id desc limit 1"
    assert rows(settings, newest) == [(2, "unusable_image")]


def test_key_pressed_while_image_loads_saves_nothing(live: Stack, page: Page) -> None:
    before = rows(library(live), "select review_id from review")
    page.route("**/image/**", lambda _: None)  # no response yet
    page.goto(f"{live.airflow.url}{_REVIEW}/frame/3/0", wait_until="domcontentloaded")
    page.keyboard.press("3")
    expect(page.get_by_text("still loading. Press again")).to_be_visible()
    assert rows(library(live), "select review_id from review") == before
    page.unroute_all()


@pytest.mark.parametrize(("control", "key", "finding"), [("width", "2", "meningioma"), ("zoom", "0", "cannot_tell")])
def test_decision_keys_work_with_focused_slider(live: Stack, page: Page, control: str, key: str, finding: str) -> None:
    page.goto(f"{live.airflow.url}{_REVIEW}/frame/3/0")
    slider = page.locator(f"#{control}")
    slider.focus()
    for pressed, value in (("Home", slider.get_attribute("min")), ("End", slider.get_attribute("max"))):
        page.keyboard.press(pressed)
        assert slider.input_value() == value, "the slider handles Home, End and arrows"
    page.keyboard.press("ArrowLeft")
    assert slider.input_value() != slider.get_attribute("max") and page.url.endswith("/frame/3/0")
    page.keyboard.press("r")
    assert slider.input_value() == {"width": "255", "zoom": "1"}[control]
    _press(page, key)
    newest = "select scan_id, finding::text from review order by review_id desc limit 1"
    assert rows(library(live), newest) == [(3, finding)]


def test_session_can_be_read_with_the_keyboard_only(live: Stack, page: Page, tmp_path: Path) -> None:
    settings = library(live)
    page.goto(f"{live.airflow.url}{_REVIEW}/")
    expect(page.get_by_role("heading", name="Review worklist")).to_be_visible()
    assert page.title() == "Review worklist"
    page.screenshot(path=tmp_path / "worklist.png")
    page.get_by_role("button", name="Start a session").press("Enter")
    page.wait_for_url("**/frame/1/0**")
    ((total,),) = rows(settings, "select count(*) from review_session_item")
    expect(page.get_by_text(f"0 of {total}")).to_be_visible()
    page.keyboard.press("o")
    expect(page.locator("#map")).to_be_visible()
    page.screenshot(path=tmp_path / "frame.png")
    _press(page, "Enter")
    expect(page.get_by_text(f"1 of {total}")).to_be_visible()
    ((own,),) = rows(
        settings,
        "select finding = predicted_class::text::review_finding from review join prediction "
        "using (scan_id, frame_index) where scan_id = 1",
    )
    assert own, "Enter agrees"
    _press(page, "u")
    page.wait_for_url("**/frame/1/0**")
    expect(page.get_by_text(f"0 of {total}")).to_be_visible()
    expect(page.get_by_text("retracted")).to_be_visible()
    _press(page, "3")
    expect(page.get_by_text(f"1 of {total}")).to_be_visible()
    page.reload()
    expect(page.get_by_text(f"1 of {total}")).to_be_visible()
    for count in range(2, total + 1):
        _press(page, "0")
        if page.get_by_text("Your decision: cannot tell").is_visible():  # it was blind, and shows the prediction now
            page.screenshot(path=tmp_path / "blind.png")
            if count < total:
                _press(page, "Enter")
        if count < total:
            expect(page.get_by_text(f"{count} of {total}")).to_be_visible()
    current = rows(settings, "select scan_id, finding::text from current_review where reviewer = 'reviewer'")
    assert (1, "normal") in current and (AUDITED, "cannot_tell") in current
    blind = rows(settings, "select purpose::text, is_blind from review where scan_id = :scan", scan=AUDITED)
    assert blind == [("audit", True)]
    ((session,),) = rows(settings, "select max(review_session_id) from review_session")
    page.goto(f"{live.airflow.url}{_REVIEW}/session/{session}")
    expect(page.get_by_text(f"{total} of {total} frames decided")).to_be_visible()
    page.screenshot(path=tmp_path / "summary.png")


def test_saved_decision_is_named_and_undone_from_the_next_page(live: Stack, page: Page) -> None:
    page.goto(f"{live.airflow.url}{_REVIEW}/frame/3/0?tab=mine")
    _press(page, "4")
    expect(page.locator("#status")).to_have_text("Saved: pituitary, scan 3. Press U to undo.")
    page.goto(f"{live.airflow.url}{_REVIEW}/?tab=mine")
    expect(page.get_by_text("your decision: pituitary")).to_be_visible()
    with page.expect_navigation():
        page.keyboard.press("u")
    expect(page.locator("#status")).to_have_text("Undone. Decide again.")
    assert page.url.endswith("/frame/3/0?tab=mine")


def test_undo_of_an_overwritten_file_names_it_and_shows_another(live: Stack, page: Page) -> None:
    page.goto(f"{live.airflow.url}{_REVIEW}/frame/3/0?tab=mine")
    _press(page, "4")
    expect(page.locator("#status")).to_have_text("Saved: pituitary, scan 3. Press U to undo.")
    change(library(live), "update scan set is_replaced = true where scan_id = 3")
    try:
        with page.expect_navigation():
            page.keyboard.press("u")
        expect(page.locator("#status")).to_contain_text("Undone. The file of that scan was overwritten")
        assert "/frame/3/0" not in page.url
    finally:
        change(library(live), "update scan set is_replaced = false where scan_id = 3")


def test_message_not_saved_stays_visible_on_a_phone(live: Stack, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.route("**/reviews", lambda route: route.fulfill(status=503, json={"detail": "Postgres is away."}))
    page.goto(f"{live.airflow.url}{_REVIEW}/frame/3/0")
    page.wait_for_function("document.querySelector('#image').naturalWidth")
    page.keyboard.press("1")
    expect(page.get_by_text("Not saved: Postgres is away.")).to_be_in_viewport()
    page.mouse.wheel(0, 5000)
    page.locator("#reset").scroll_into_view_if_needed()
    expect(page.get_by_text("Not saved: Postgres is away.")).to_be_in_viewport()


@pytest.mark.parametrize("path", ["", "?tab=mine", "?reason=audit_sample", "dashboard", "frame/1/0", "session/1"])
def test_page_does_not_scroll_sideways_on_a_phone(live: Stack, page: Page, path: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{live.airflow.url}{_REVIEW}/{path}")
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0


def test_tools_are_visible_on_a_small_screen(live: Stack, page: Page) -> None:
    page.set_viewport_size({"width": 1024, "height": 768})
    page.goto(f"{live.airflow.url}{_REVIEW}/frame/1/0")
    page.get_by_role("button", name="activation map").click()
    for name in ("Window", "Zoom", "Opacity"):
        expect(page.get_by_role("slider", name=name)).to_be_in_viewport(ratio=1)
    expect(page.get_by_text("much contribution")).to_be_in_viewport(ratio=1)
    page.get_by_role("slider", name="Opacity").fill("40")
    assert "opacity: 0.4" in str(page.locator("#map").get_attribute("style"))


def test_scrolling_slices_and_zooming_save_nothing(live: Stack, page: Page, tmp_path: Path) -> None:
    (*_, (frame,)) = rows(library(live), "select frame_index from prediction where scan_id = 6 order by 1 offset 2")
    page.goto(f"{live.airflow.url}{_REVIEW}/frame/6/{frame}")
    shown = page.locator("#image").get_attribute("src")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_text("your decision is for slice")).to_be_visible()
    assert page.locator("#image").get_attribute("src") != shown
    before = len(rows(library(live), "select from review"))
    page.keyboard.press("1")
    expect(page.get_by_text("press again")).to_be_visible()
    assert len(rows(library(live), "select from review")) == before
    page.get_by_role("button", name="previous slice").click()
    expect(page.get_by_text("your decision is for slice")).to_be_visible()
    page.locator("#stage").hover()
    page.mouse.wheel(0, 120)
    expect(page.get_by_text("the one to review")).to_be_visible()
    box = page.locator("#stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2 + 100, box["y"] + box["height"] / 2)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    expect(page.locator("#zoom-value")).to_have_text("2.1")
    (moved,) = re.findall(r"translate\((-?[\d.]+)px", str(page.locator("#plate").get_attribute("style")))
    assert float(moved) == pytest.approx(-110, abs=3), "the point under the pointer stays"
    page.get_by_role("button", name="dark parts").click()
    expect(page.locator("#width-value")).to_have_text("90")
    page.locator("#width").fill("80")
    page.locator("#zoom").fill("2")
    assert "scale(2)" in str(page.locator("#plate").get_attribute("style"))
    page.screenshot(path=tmp_path / "window.png")


def test_tab_of_the_menu_takes_keys_and_opens_the_viewer(live: Stack, page: Page, tmp_path: Path) -> None:
    change(library(live), "update scan set study_pseudonym = 'study' where scan_id = 1")
    page.context.route("https://viewer.example/**", lambda route: route.fulfill(body="the viewer"))
    page.goto(live.airflow.url)
    page.get_by_role("button", name="Browse").first.click()
    expect(page.get_by_text("Brain-tumor review").first).to_be_visible()
    with page.expect_popup() as opened:
        page.get_by_text("Brain-tumor review").first.click()
    expect(opened.value.get_by_role("heading", name="Review worklist")).to_be_visible()
    opened.value.screenshot(path=tmp_path / "navigation.png")
    opened.value.goto(f"{live.airflow.url}{_REVIEW}/frame/1/0")
    opened.value.keyboard.press("o")
    expect(opened.value.locator("#map")).to_be_visible()
    with opened.value.expect_popup() as viewer:
        opened.value.get_by_role("link", name="Open the study in the viewer").click()
    expect(viewer.value.get_by_text("the viewer")).to_be_visible()
    assert viewer.value.url == "https://viewer.example/study"


def test_server_log_contains_no_object_key(live: Stack) -> None:
    settings, viewer = library(live), client(live, "viewer")
    located = rows(settings, "select scan_id, bucket, key from scan_location order by scan_id")
    gone, bucket, key = located[0]
    ObjectStore.connect(settings).delete([S3Uri(bucket=bucket, key=key)])
    for scan_id, frame_index in rows(settings, "select scan_id, min(frame_index) from prediction group by scan_id"):
        answered = viewer.send("GET", f"{_REVIEW}/image/{scan_id}/{frame_index}.png", allow=(404,))
        assert (answered.status_code == 404) == (scan_id == gone)
        assert scan_id != gone or key not in answered.text
    log = live.state.log("api-server").read_text()
    assert f"{_REVIEW}/image/{gone}/0.png" in log, "this must be the access log"
    for name in (SCRIPT, *(key for _, _, key in located)):
        assert name not in log and quote(name) not in log


def _press(page: Page, key: str) -> None:
    """Press a key that opens another page, after the image has loaded, and wait for that page."""
    page.wait_for_function("document.querySelector('#image').complete && document.querySelector('#image').naturalWidth")
    with page.expect_navigation():
        page.keyboard.press(key)
