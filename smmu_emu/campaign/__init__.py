# SPDX-License-Identifier: GPL-2.0-or-later
"""Campaigns: very many runs of the same systems, each with a fault, and what became of them."""
