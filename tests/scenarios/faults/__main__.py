# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the tables into their pages."""

from __future__ import annotations

from tests.scenarios.faults.catalogue import pages

for path, text in pages().items():
    path.write_text(text)
