# SPDX-License-Identifier: GPL-2.0-or-later
"""The SMMU against witnesses that are no part of this project."""
