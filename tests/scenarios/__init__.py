# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole runs: what a user does, and what nobody should."""
