# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel under faults: a sample of what `tests.linux.faults` does, from one boot."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.linux.faults import EXPERIMENTS, PAGE, Laboratory, Observed, row
from tests.linux.test_stock_kernel import FOLDERS

FOLDER = FOLDERS[0]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FOLDER / "vmlinuz").exists(),
        reason=f"no kernel in {FOLDER}: python -m tests.linux.build {FOLDER}",
    ),
]

_SAMPLE = ("nothing", "walk", "stray", "event-interrupt", "event-abort", "doorbell", "bus", "data")


def _said(observed: Observed, words: str) -> bool:
    return any(re.search(words, message) for message in observed.messages)


def test_kernel_tells_of_faults_in_its_own_words(tmp_path: Path) -> None:
    laboratory = Laboratory(FOLDER, tmp_path / "disk.img")
    known = {one.name: one for one in EXPERIMENTS}
    seen = {name: laboratory.observe(known[name]) for name in _SAMPLE}
    laboratory.machine.close()

    assert all(observed.valid for observed in seen.values())
    assert seen["nothing"].messages == {}
    assert seen["nothing"].finished
    assert _said(seen["walk"], "^event 0x0b received:")
    assert not seen["walk"].finished
    assert _said(seen["stray"], "^event 0x10 received:")
    assert seen["event-interrupt"].messages == {}
    assert _said(seen["event-abort"], "EVTQ write aborted")
    assert _said(seen["doorbell"], "^CMD_SYNC timeout at")
    assert seen["doorbell"].finished
    assert seen["bus"].printed[-1].endswith("Input/output error")
    assert row(known["data"], seen["data"]).endswith("which is wrong |")
    for name, observed in seen.items():
        assert row(known[name], observed).startswith(f"| {known[name].what} |")


def test_page_has_every_experiment() -> None:
    lines = PAGE.read_text().splitlines()
    for one in EXPERIMENTS:
        assert any(line.startswith(f"| {one.what} |") for line in lines), one.name
    assert len(EXPERIMENTS) > 10
