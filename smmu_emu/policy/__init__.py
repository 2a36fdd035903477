# SPDX-License-Identifier: GPL-2.0-or-later
"""What silicon may do and this SMMU does not do by itself: policies of caching, speculation, delay.

Everything here is within the architecture (each policy names its sections), so a correct driver
shows the same outcome under all of them. A policy stands before functions of a living SMMU
(`smmu_emu.interpose`) and takes its chances from a seed; nothing of it is loaded or paid for unless
asked for. `Choice` is what was asked for, `Adversary` carries it out.

Modules: `caching` (what is kept), `pointers` (walk caches), `sizes` (of entries), `speculation`,
`delays` (commands, effects, acknowledges), `flight` (DMA under way). Failed translations are never
cached, interrupts and messages keep their order, whatever the policy.
"""

from smmu_emu.policy.adversary import POLICIES, Adversary
from smmu_emu.policy.choice import Choice

__all__ = ["POLICIES", "Adversary", "Choice"]
