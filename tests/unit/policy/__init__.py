# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies: what silicon may do, held against what the architecture says of it."""
