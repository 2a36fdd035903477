# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage 1 of the SMMU against the MMU of the emulated core, over random tables.

A stream whose CD says what TCR_EL1 says must translate as AT S1E0 and S1E1 do, address by address:
the same output address and attributes, or the same class of fault on the same level. Unprivileged
transactions are compared with S1E0, privileged ones with S1E1. Where the core leaves the
architecture, `deviations` says what the architecture asks for, and the core is not asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, note, settings

from smmu_emu.cpu.at import AddressTranslation, AtResult
from smmu_emu.transaction import Fault, Translation
from tests.oracle import deviations, tables
from tests.oracle.deviations import Outcome
from tests.unit.smmuv3 import rig

EXAMPLES = 150
WANTED_COMPARISONS = 10_000
KINDS = ("address size", "translation", "access flag", "permission")
EVENTS = {
    0x0B: "external abort",
    0x10: "translation",
    0x11: "address size",
    0x12: "access flag",
    0x13: "permission",
}
OUTER_SHAREABLE, RESERVED_SHAREABILITY = 2, 1
NON_CACHEABLE = 0x44


class Duel:
    """One SMMU and one core over the same RAM."""

    def __init__(self) -> None:
        self.bench = rig.Bench(rig.make_ids(OAS=5, HAD=1))
        self.bench.ste(**rig.S1_STE)
        self.builder = tables.Builder(self.bench.memory.rams[0], rig.HEAP)
        self.core = AddressTranslation(self.bench.memory)
        self.comparisons = 0
        self.deviations: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()

    def begin(self, regime: tables.Regime) -> None:
        """Put a regime before both."""
        self.builder.build(regime)
        low, high = regime.halves
        self.core.set_stage1(
            ttbr0=low.root, ttbr1=high.root, tcr=regime.tcr, mair=regime.mair, pan=regime.pan
        )
        self.bench.cd(
            V=1,
            AA64=1,
            A=1,
            R=1,
            IPS=regime.ips,
            PAN=regime.pan,
            MAIR0=regime.mair & 0xFFFF_FFFF,
            MAIR1=regime.mair >> 32,
            **half_fields(0, low, tables.TG0),
            **half_fields(1, high, tables.TG1),
        )
        self.bench.forget()

    def compare(self, regime: tables.Regime, va: int) -> None:
        """All four kinds of data access to one address."""
        upper = bool(va >> 55 & 1)
        half = regime.halves[upper]
        walks = half.in_range(va, upper) and not half.disabled
        steps = list(tables.path(self.builder, half, va)) if walks else []
        for privileged in (False, True):
            for write in (False, True):
                core = self.core.stage1(va, write=write, privileged=privileged)
                smmu = self.bench.go(va, write, privileged=privileged)
                note(f"{va:#x} {write=} {privileged=} steps={[*map(_step_text, steps)]}")
                note(f"core {core} smmu {smmu}")
                self._judge(regime, half, steps, va, core, smmu)

    def _judge(
        self,
        regime: tables.Regime,
        half: tables.Half,
        steps: list[tables.Step],
        va: int,
        core: AtResult,
        smmu: Translation | Fault,
    ) -> None:
        self.comparisons += 1
        told, wanted = _smmu_outcome(smmu), _core_outcome(core, walked=bool(steps))
        deviation = deviations.find(regime, half, steps, va, wanted)
        if deviation is not None:
            self.deviations[deviation.name] += wanted != deviation.outcome
            wanted = deviation.outcome
        self.outcomes[wanted.what] += 1
        assert told == wanted, deviation
        if isinstance(smmu, Translation) and core.pa is not None:
            _compare_attributes(smmu, core)


def half_fields(number: int, half: tables.Half, granules: dict[int, int]) -> dict[str, int]:
    return {
        f"T{number}SZ": half.tsz,
        f"TG{number}": granules[half.granule_lg2],
        f"EPD{number}": half.disabled,
        f"TBI{number}": half.top_byte_ignored,
        f"HAD{number}": half.hierarchy_ignored,
        f"TTB{number}": half.root,
    }


def _step_text(step: tables.Step) -> str:
    level, where, descriptor = step
    return f"L{level} {where:#x}: {'none' if descriptor is None else hex(descriptor)}"


def _core_outcome(result: AtResult, *, walked: bool) -> Outcome:
    if result.pa is not None:
        return Outcome("ok", result.pa)
    return Outcome(KINDS[result.kind], result.level if walked else None)


def _smmu_outcome(result: Translation | Fault) -> Outcome:
    if isinstance(result, Translation):
        return Outcome("ok", result.pa)
    return Outcome(EVENTS[result.code], result.level)


def _compare_attributes(smmu: Translation, core: AtResult) -> None:
    """PAR_EL1 has what the descriptor says; Device and non-cacheable are outer shareable, D8.6."""
    assert smmu.attributes.memory == core.memory
    if core.memory & 0xF0 == 0 or core.memory == NON_CACHEABLE:
        assert smmu.attributes.shareability == OUTER_SHAREABLE
    elif core.shareability != RESERVED_SHAREABILITY:
        assert smmu.attributes.shareability == core.shareability


@pytest.fixture(scope="module")
def duel() -> Iterator[Duel]:
    fight = Duel()
    yield fight
    fight.core.close()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(regime=tables.regimes())
def check_regime(duel: Duel, regime: tables.Regime) -> None:
    duel.begin(regime)
    for va in tables.probes(regime):
        duel.compare(regime, va)


def test_stage1_translates_as_the_core_does(duel, capsys):
    check_regime(duel)
    with capsys.disabled():
        print(f"\n{duel.comparisons} comparisons; {dict(duel.outcomes)}; {dict(duel.deviations)}")
    assert duel.comparisons >= WANTED_COMPARISONS
    assert {"ok", *KINDS, "external abort"} == set(duel.outcomes)
    assert all(duel.deviations[name] for name in deviations.NAMES), duel.deviations
