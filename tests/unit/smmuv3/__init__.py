# SPDX-License-Identifier: GPL-2.0-or-later
"""The SMMUv3, tested from IHI 0070 section by section; `rig` is what the tests share."""
