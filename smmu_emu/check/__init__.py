# SPDX-License-Identifier: GPL-2.0-or-later
"""The checker: mistakes of drivers that an SMMU forgives for a while, told with their story."""

from smmu_emu.check.checker import Checker
from smmu_emu.check.findings import ADVICE, ERROR, WARNING, Kind
from smmu_emu.check.report import Finding, Report
from smmu_emu.check.rules import KINDS

__all__ = ["ADVICE", "ERROR", "KINDS", "WARNING", "Checker", "Finding", "Kind", "Report"]
