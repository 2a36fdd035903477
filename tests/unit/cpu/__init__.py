# SPDX-License-Identifier: GPL-2.0-or-later
"""The core and the firmware interfaces around it; `core_helpers` and `a64` are what tests share."""
