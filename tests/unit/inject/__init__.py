# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans of faults, and what stands before the functions that they break."""
