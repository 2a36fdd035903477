# SPDX-License-Identifier: GPL-2.0-or-later
"""Gathers by what replayed scenarios were explained, over all workers, and prints it at the end."""

from __future__ import annotations

from collections import Counter

import pytest
from smmuv3.deviations import EXPLAINED

_explained: Counter[str] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, value in report.user_properties:
        if name == EXPLAINED and report.when == "call":
            _explained.update(dict(value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _explained:
        return
    terminalreporter.section("SMMUv3: steps at which QEMU's deviations explain the record")
    for name, steps in _explained.most_common():
        terminalreporter.write_line(f"{steps:7} {name}")
