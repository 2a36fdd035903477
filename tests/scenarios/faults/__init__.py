# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults by name: what each one does, and what the architecture promises about it."""
