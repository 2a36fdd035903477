# SPDX-License-Identifier: GPL-2.0-or-later
"""Unmodified Linux kernels on the emulated board."""
