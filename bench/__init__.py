# SPDX-License-Identifier: GPL-2.0-or-later
"""Speeds, as one table: ``python -m bench``. Machines are noisy; compare figures of one run."""
