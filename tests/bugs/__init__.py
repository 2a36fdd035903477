# SPDX-License-Identifier: GPL-2.0-or-later
"""Drivers with one mistake each, and what finds it: ``python -m tests.bugs``."""
