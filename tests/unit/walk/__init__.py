# SPDX-License-Identifier: GPL-2.0-or-later
"""Table walkers, fed with descriptors written by hand."""
