# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the catalogue into its page."""

from __future__ import annotations

from tests.scenarios.faults.catalogue import PAGE, page

PAGE.write_text(page(PAGE.read_text()))
