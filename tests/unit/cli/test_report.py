# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu report``: the page is written, and what is no trace is refused in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import IMAGES, process


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of a run, as lines."""
    path = tmp_path_factory.mktemp("report") / "t.jsonl"
    assert process("run", IMAGES / "hello.elf", "--no-report", "--trace", path).returncode == 0
    return path


def test_page_is_written_beside_the_trace(trace: Path) -> None:
    ended = process("report", trace)
    page = trace.with_suffix(".html")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{page}: ")
    assert page.read_text().startswith("<!doctype html>")


def test_page_has_the_name_and_title_that_are_given(trace: Path, tmp_path: Path) -> None:
    page = tmp_path / "p.html"
    assert process("report", trace, "-o", page, "--title", "<one>").returncode == 0
    assert "<title>&lt;one&gt;</title>" in page.read_text()


def test_what_is_no_trace_is_refused(trace: Path, tmp_path: Path) -> None:
    other = tmp_path / "x.jsonl"
    other.write_text("{}\n")
    for words, complaint in (
        ((other,), "is no trace of smmu-emu"),
        ((tmp_path / "none.jsonl",), "No such file"),
        ((IMAGES / "hello.elf",), "is no trace of smmu-emu"),
        ((trace, "-o", trace), "would overwrite the trace"),
        ((trace, "-o", tmp_path / "no" / "p.html"), "No such file"),
    ):
        ended = process("report", *words)
        assert ended.returncode == 123
        assert complaint in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_trace_that_was_cut_off_is_drawn_as_far_as_it_goes(trace: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(trace.read_bytes()[:-20])
    ended = process("report", cut)
    assert ended.returncode == 0
    assert cut.with_suffix(".html").exists()
