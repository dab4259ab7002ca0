"""The HTML page in a real Chromium: by mouse, by keyboard, on a phone; and it asks for nothing outside its file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from oodbench.api import Metric
from oodbench.leaderboard import formats
from oodbench.leaderboard.publication import Publication
from oodbench.leaderboard.reported import LiteratureResult
from oodbench.leaderboard.score_file import ImageScores
from oodbench.leaderboard.suites import Suite

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = os.environ.get("OODBENCH_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium: apt-get install chromium")

METRICS = [
    Metric("auroc", lambda in_scores, out_scores: 0.0, True, "area under the ROC curve"),
    Metric("fpr95_in", lambda in_scores, out_scores: 0.0, False, "share of out-images accepted"),
]
HOSTILE = '<img src=https://example.org/x onerror=alert(1)>|`</script>"'
VALUES = {"ae": (0.7, 0.9), "dae": (0.6, 0.95), HOSTILE: (0.8, 0.1)}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> str:
    """A page of three detectors, two of whose seeds have scores, beside a figure of others."""
    rows, scores = [], {}
    rng = np.random.default_rng(0)
    for detector, values in VALUES.items():
        for seed in range(2):
            run = f"{detector}-s{seed}"
            for dataset, size in (("digits", 90), ("noise", 60), ("ones", 30)):
                at = np.arange(size)
                scores[run, dataset] = ImageScores(
                    run, dataset, "test", at, at, rng.normal(dataset != "digits", 1, size)
                )
            for out, value in zip(("noise", "ones"), values, strict=True):
                for metric, each in (("auroc", value + seed / 100), ("fpr95_in", 1 - value)):
                    rows.append(result(detector, run, out, seed, metric, each))
    reported = [LiteratureResult("AE", "ae", "", "digits", "noise", "auroc", 0.4, None, "A. Author", "read")]
    page = formats.Page(Suite(reported=reported, notes=HOSTILE), Publication(pd.DataFrame(rows), scores), METRICS)
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(formats.write(page, "html"), encoding="utf-8")
    return path.as_uri()


def result(detector, run, out, seed, metric, value):
    numbers = {"value": value, "low": value - 0.05, "high": value + 0.05, "p_best": 0.5, "fit_seconds": 12.5}
    counts = {"seed": seed, "n_in": 90, "n_out": 60, "parameters": 4321, "n_train": 7200}
    texts = {"precision": "float32", "plugin_version": "0.1.0", "distribution": "oodbench-toys", "torch": "2.11"}
    facts = {"plugin_commit": "abc", "device": "cpu", "created": "2026-01-01", "notes": "", "error": ""}
    place = {"run": run, "detector": detector, "in_dataset": "digits", "out_dataset": out, "metric": metric}
    asked = {"preset": "quick, width=2", "params": json.dumps({"width": 2}), "reduced": "no"}
    return {**place, **numbers, **counts, **texts, **facts, **asked}


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser, file) -> Iterator:
    """``opened(**options)`` is the page in a new window; at the end it must not have complained, nor asked for more."""
    contexts, complaints, requests = [], [], []

    def open_page(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {file}


def rows(page):
    names = page.locator("tbody.ours:visible tr:visible th").all_inner_texts()
    return [name.removesuffix(", preset quick, width=2") for name in names]


def test_a_heading_sorts_and_says_so(opened):
    page = opened()
    assert rows(page) == ["ae", "dae", HOSTILE]
    head = page.locator("thead th:visible", has_text="noise")
    head.get_by_role("button").click()
    assert rows(page) == [HOSTILE, "ae", "dae"]
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").press("Enter")
    assert rows(page) == ["dae", "ae", HOSTILE]
    assert head.get_attribute("aria-sort") == "ascending"
    page.locator("thead th:visible", has_text="mean").get_by_role("button").click()
    assert rows(page) == ["ae", "dae", HOSTILE]
    assert page.locator("[aria-sort]").count() == 1
    assert page.locator("tbody.reported th").inner_text().startswith("AE (reported)")


def test_rows_are_filtered(opened):
    page = opened()
    assert page.get_by_role("status").inner_text() == "4 rows"
    page.get_by_label("Filter rows").fill("DA")
    assert rows(page) == ["dae"]
    assert page.get_by_role("status").inner_text() == "1 of 4 rows"


def test_another_metric_is_chosen(opened):
    page = opened()
    page.get_by_label("Metric").select_option("fpr95_in")
    assert page.locator("caption:visible").all_inner_texts() == [
        "fpr95_in ↓ share of out-images accepted; lower is better"
    ]
    page.locator("thead th:visible", has_text="noise").get_by_role("button").click()
    assert rows(page) == [HOSTILE, "ae", "dae"]
    page.locator("tbody tr:visible", has_text="dae").get_by_role("button").first.click()
    assert "fpr95_in" in page.get_by_role("dialog").inner_text()


def test_a_click_opens_what_is_behind_a_value(opened):
    page = opened()
    page.locator("tr:visible", has_text="onerror").get_by_role("button").first.click()
    panel = page.get_by_role("dialog")
    text = panel.inner_text()
    assert text.startswith(f"{HOSTILE}, preset quick, width=2: noise against digits")
    assert "0.810\t0.760 – 0.860" in text
    for fact in ("oodbench-toys", "0.1.0", "abc", "2.11", "12.5", "2026-01-01", "cpu"):
        assert fact in text
    assert "--in digits --out noise --preset quick --set width=2 --seed 0 --seed 1" in text
    assert panel.locator("svg").count() == 3
    assert panel.locator("polyline").count() == 2
    panel.get_by_role("button", name="Close").click()
    assert not panel.is_visible()


def test_the_keyboard_opens_and_closes_the_panel(opened):
    page = opened()
    page.get_by_label("Filter rows").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "open":
            break
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    assert page.evaluate("document.activeElement.className") == "open"


def test_it_fits_a_phone(opened):
    page = opened(viewport={"width": 375, "height": 700}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    page.locator("td button:visible").first.tap()
    box = page.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 375
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme, opened):
    page = opened(color_scheme=scheme)
    for name in ("--ink", "--soft", "--link"):
        assert contrast(page, name) >= 4.5, name


def contrast(page, name):
    def luminance(variable):
        text = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('{variable}')").strip("# ")
        text = "".join(2 * digit for digit in text) if len(text) == 3 else text
        parts = [int(text[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    one, other = sorted([luminance(name), luminance("--paper")])
    return (other + 0.05) / (one + 0.05)


def test_without_scripts_the_table_of_the_first_metric_is_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("caption:visible").count() == 1
    assert rows(page) == ["ae", "dae", HOSTILE]
    assert page.get_by_role("button").count() == 0
    assert not page.get_by_label("Metric").is_visible()
