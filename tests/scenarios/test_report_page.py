# SPDX-License-Identifier: GPL-2.0-or-later
"""The report page in a browser: Debian's Chromium, driven by Playwright, without a network.

Skipped where either is missing.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smmu_emu.machine import Machine
from smmu_emu.report.page import write_page
from smmu_emu.trace.events import Access, Event, Fill, Finding, Invalidation
from smmu_emu.trace.tracer import Tracer

IMAGE = Path(__file__).resolve().parents[2] / "firmware" / "images" / "bugs.elf"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
TABS = ("findings", "timeline", "addresses", "tables", "events")


def describe(event: Event) -> str:
    return " ".join(f"{name}={value!r}" for name, value in zip(event._fields, event, strict=True))


def traced() -> list[Event]:
    """A driver that forgets its invalidations, and a finding about it."""
    events: list[Event] = []
    with Machine.virt(command_line="bugs.elf tlbi-dropped") as machine:
        machine.load(IMAGE)
        with Tracer(machine, events.append) as tracer:
            machine.run(2_000_000)
            fill = next(event for event in events if isinstance(event, Fill))
            text = "an entry outlived <its> page"
            rule, advice = "IHI 0070 3.17", "invalidate it"
            story = (fill.seq,)
            words = ("stale-tlb-hit", "error", text, rule, advice, 8, fill.base, story)
            tracer.add(Finding(0, 0, "smmu0", 0, *words))
    return events


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A tab that has no network, and whose mistakes fail the test."""
    context = browser.new_context(viewport={"width": 1300, "height": 800}, offline=True)
    made = context.new_page()
    problems: list[str] = []
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("requestfailed", lambda request: problems.append(request.url))
    yield made
    context.close()
    assert problems == []


def opened(page: Any, path: Path) -> Any:
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-complete]", state="attached", timeout=60_000)
    return page


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    path = tmp_path_factory.mktemp("report") / "page.html"
    events = traced()
    assert write_page(events, path, "bugs & <more>", describe) == len(events)
    return path, events


def test_page_is_one_file_that_points_nowhere(report: tuple[Path, list[Event]]) -> None:
    text = report[0].read_text()
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|https?://", text)
    assert "bugs &amp; &lt;more&gt;" in text


def test_every_tab_opens(page: Any, report: tuple[Path, list[Event]]) -> None:
    opened(page, report[0])
    assert f"{len(report[1]):,} events" in page.inner_text("#counts")
    for tab in TABS:
        page.click(f"#tab-{tab}")
        assert page.is_visible(f"#{tab}")
        assert [name for name in TABS if page.is_visible(f"#{name}")] == [tab]


def test_findings_tell_their_story(page: Any, report: tuple[Path, list[Event]]) -> None:
    path, events = report
    fill = next(event for event in events if isinstance(event, Fill))
    opened(page, path)
    card = page.inner_text("article.error")
    assert "stale-tlb-hit" in card
    assert "an entry outlived <its> page" in card
    assert f"#{fill.seq} " in card
    page.click("article.error li")
    page.wait_for_selector(".row.here")
    assert str(fill.seq) in page.inner_text(".row.here .n")


def test_timeline_shows_entries_and_what_lies_under_the_pointer(
    page: Any, report: tuple[Path, list[Event]]
) -> None:
    path, events = report
    opened(page, path)
    page.click("#tab-timeline")
    page.wait_for_function("Number(document.getElementById('canvas').dataset.drawn) > 50")
    fill = next(event for event in events if isinstance(event, Fill))
    where = page.evaluate(
        """seq => { const i = A.eb.indexOf(seq), t = timeline;
        const box = t.canvas.getBoundingClientRect();
        return [box.left + ((A.eb[i] + A.ee[i]) / 2 - t.x0) / (t.x1 - t.x0) * box.width,
                box.top + (A.el[i] + .5 - t.y0) / (t.y1 - t.y0) * box.height]; }""",
        fill.seq,
    )
    page.mouse.click(*where)
    page.wait_for_function("document.getElementById('what').textContent.includes('entry')")
    assert f"{fill.base:#x} → {fill.page:#x}" in page.inner_text("#what")
    before = page.evaluate("timeline.x1 - timeline.x0")
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"timeline.x1 - timeline.x0 < {before}")
    page.select_option("#across", "time")
    assert page.evaluate("timeline.x1") >= events[-1].time


def test_addresses_show_what_is_cached_at_a_moment(
    page: Any, report: tuple[Path, list[Event]]
) -> None:
    opened(page, report[0])
    page.click("#tab-addresses")
    page.wait_for_function("Number(document.getElementById('bars').dataset.live) > 10")
    page.evaluate("by('moment').value = 1; addresses.draw()")
    assert page.evaluate("Number(by('bars').dataset.live)") == 0


def test_tables_open_level_by_level(page: Any, report: tuple[Path, list[Event]]) -> None:
    opened(page, report[0])
    page.click("#tab-tables")
    for level in (1, 2, 3):
        page.wait_for_function(
            f"document.getElementById('tables').innerText.includes('level {level} 0x')"
        )
        for closed in page.query_selector_all("#tables details:not([open]) > summary"):
            closed.click()
    assert "4K page → 0x" in page.inner_text("#tables")


def test_events_are_found(page: Any, report: tuple[Path, list[Event]]) -> None:
    path, events = report
    opened(page, path)
    page.click("#tab-events")
    page.select_option("#kind", "invalidation")
    page.wait_for_function("document.querySelectorAll('.row').length > 2")
    kinds = {row.inner_text() for row in page.query_selector_all(".row .k")}
    assert kinds == {"invalidation"}
    page.fill("#find", "TLBI_NH_ASID")
    page.press("#find", "Enter")
    page.wait_for_selector(".row.here")
    assert "TLBI_NH_ASID" in page.inner_text(".row.here")
    page.fill("#goto", str(events[-1].seq))
    page.press("#goto", "Enter")
    page.wait_for_function(
        f"document.querySelector('.row.here .n')?.textContent === '{events[-1].seq}'"
    )


def test_empty_trace_says_so(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert write_page([], path, "nothing", describe) == 0
    opened(page, path)
    page.click("#tab-findings")
    assert "No findings" in page.inner_text("#findings")


def long_trace(count: int) -> Iterator[Event]:
    """Entries that come, serve and go."""
    for number in range(1, count // 4 + 1):
        seq, entry = 4 * number - 3, number
        iova = 0x1000 * (number * 7919 % 5000)
        fill = ("tlb", "EL1", 0, 5, 8, None, iova, 12, iova, 0, 255, 3, 12, ())
        yield Fill(seq, 10 * seq, "smmu0", 0, seq + 1, entry, *fill)
        for hit in (1, 2):
            access = (8, None, iova, True, False, False, "hit", iova, entry, 1, "", "")
            yield Access(seq + hit, 10 * (seq + hit), "smmu0", 0, *access)
        scope = (0, "TLBI_NH_VA", "EL1", 0, 5, iova, iova + 0xFFF, None, None, True)
        yield Invalidation(seq + 3, 10 * (seq + 3), "smmu0", 0, *scope, (entry,), ())


def test_long_trace_opens_scrolls_and_zooms(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert write_page(long_trace(100_000), path, "long", lambda event: event.unit) == 100_000
    opened(page, path)
    page.click("#tab-events")
    page.evaluate("by('rows').scrollTop = by('filler').clientHeight")
    page.wait_for_function(
        "[...document.querySelectorAll('.row .n')].some(one => one.textContent === '100000')"
    )
    assert page.evaluate("document.querySelectorAll('.row').length") < 100
    page.click("#tab-timeline")
    page.evaluate("for (let i = 0; i < 20; i++) { timeline.zoom('x', .5, .8); timeline.draw(); }")
    assert page.evaluate("timeline.x1 - timeline.x0") < 2000
