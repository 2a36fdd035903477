# SPDX-License-Identifier: GPL-2.0-or-later
"""Fault injection: break anything on purpose, in a plan that can be repeated.

    from smmu_emu.inject import Abort, Injection, Injector, Plan, When

    plan = Plan((Injection("walk-read", Abort(), When(stream=8, nth=3)),))
    with Injector(machine, plan) as injector:
        machine.run()
    assert injector.report().valid

`smmu_emu.inject.sites` lists where faults enter, `effects` what they do, `plan.When` how they are
aimed; `load_plan` reads a file. `isolation` judges where DMA landed.
"""

from smmu_emu.inject.effects import (
    Abort,
    Delay,
    Dma,
    Drop,
    Duplicate,
    Effect,
    Flip,
    PageRequests,
    Poison,
    Reorder,
    Replace,
    Rewrite,
    SetField,
    Stuck,
)
from smmu_emu.inject.errors import PlanError
from smmu_emu.inject.files import load_plan, parse_plan, plan_of
from smmu_emu.inject.injector import Injector
from smmu_emu.inject.plan import EVER, Allow, Injection, Plan, Target, When
from smmu_emu.inject.report import Firing, InjectionReport, Unfired
from smmu_emu.inject.sites import SITES, Site

__all__ = [
    "EVER",
    "SITES",
    "Abort",
    "Allow",
    "Delay",
    "Dma",
    "Drop",
    "Duplicate",
    "Effect",
    "Firing",
    "Flip",
    "Injection",
    "InjectionReport",
    "Injector",
    "PageRequests",
    "Plan",
    "PlanError",
    "Poison",
    "Reorder",
    "Replace",
    "Rewrite",
    "SetField",
    "Site",
    "Stuck",
    "Target",
    "Unfired",
    "When",
    "load_plan",
    "parse_plan",
    "plan_of",
]
