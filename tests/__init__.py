# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests. Folders that are packages import what they share as ``tests.something``."""
