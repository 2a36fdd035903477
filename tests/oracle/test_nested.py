# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage 2 and nested walks of the SMMU against the MMU of the emulated core, over random tables.

A stream whose STE and CD say what VTCR_EL2 and TCR_EL1 say must translate as AT S12E0 and S12E1 do
at EL2: the same address and attributes, or the same class of fault of the same stage on the same
level; PAR_EL1's S and PTW are the record's S2 and CLASS. Where the core leaves the architecture,
`nested_deviations` says what the architecture asks for. AT has no instruction fetches, so that XN
must not matter here; without stage 1 the core takes data for Device memory, so that attributes are
compared with both stages only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from smmu_emu.cpu.at import AddressTranslation, AtResult
from smmu_emu.smmuv3.spec.event import FetchClass
from smmu_emu.transaction import Fault, Translation
from tests.oracle import nested_deviations, tables
from tests.oracle.nested_deviations import DEVICE_TYPE, STATUS_OF_WALK, Found, Outcome, Reading
from tests.oracle.nested_tables import FirstBuilder, World, worlds
from tests.oracle.test_stage1 import EVENTS, KINDS, half_fields
from tests.unit.smmuv3 import rig

EXAMPLES = 250
WANTED_COMPARISONS = 10_000
BEHIND_HEAP = rig.HEAP + (40 << 20)


class Duel:
    """One SMMU and one core over the same RAM."""

    def __init__(self) -> None:
        self.bench = rig.Bench(rig.make_ids(OAS=4, HAD=1))
        self.ram = self.bench.memory.rams[0]
        self.behind = tables.Builder(self.ram, rig.HEAP)
        self.builder = FirstBuilder(self.ram, BEHIND_HEAP, self.behind)
        self.core = AddressTranslation(self.bench.memory)
        self.comparisons = 0
        self.deviations: Counter[str] = Counter()
        self.outcomes: Counter[tuple[str, int, bool]] = Counter()

    def begin(self, world: World) -> None:
        """Put a world before both; the SMMU fetches its CD before the damage is done."""
        self.builder.begin(world)
        self._tell_core(world)
        self._tell_smmu(world)
        self.behind.damage(world.second)
        if world.nested:
            self.builder.damage(world.first)
        self.bench.do(rig.cmd("TLBI_NSNH_ALL"))

    def _tell_core(self, world: World) -> None:
        low, high = world.first.halves
        self.core.set_stage1(
            ttbr0=low.root,
            ttbr1=high.root,
            tcr=world.first.tcr if world.nested else 0,  # a tag is ignored without walks too
            mair=world.first.mair,
            sctlr=int(world.nested),
        )
        stage2 = world.stage2
        registers = world.base, stage2.vtcr
        self.core.set_stage2(registers, protect_walks=stage2.protect_walks)

    def _tell_smmu(self, world: World) -> None:
        stage2, first = world.stage2, world.first
        self.bench.ste(
            V=1,
            Config=0b111 if world.nested else 0b110,
            S1ContextPtr=world.context,
            SHCFG=1,
            S2VMID=7,
            S2T0SZ=stage2.tsz,
            S2SL0=stage2.sl0,
            S2TG=tables.TG0[stage2.granule_lg2],
            S2PS=stage2.ps,
            S2AA64=1,
            S2AFFD=stage2.ignore_access_flag,
            S2PTW=stage2.protect_walks,
            S2R=1,
            S2TTB=world.base,
        )
        low, high = first.halves
        self.bench.cd(
            V=1,
            AA64=1,
            A=1,
            R=1,
            IPS=first.ips,
            MAIR0=first.mair & 0xFFFF_FFFF,
            MAIR1=first.mair >> 32,
            **half_fields(0, low, tables.TG0),
            **half_fields(1, high, tables.TG1),
        )
        self.bench.forget()
        self.bench.go(0)
        self.bench.events()

    def compare(self, world: World, va: int) -> None:
        """All four kinds of data access to one address."""
        for privileged in (False, True):
            for write in (False, True):
                self.comparisons += 1
                smmu = self.bench.go(va, write, privileged=privileged)
                self._judge(world, va, write, privileged, smmu)
        self.bench.events()

    def _judge(
        self, world: World, va: int, write: bool, privileged: bool, smmu: Translation | Fault
    ) -> None:
        reading = Reading(world, self.builder)
        repaired: list[tuple[int, int]] = []
        while True:
            core = self.core.both_stages(va, write=write, privileged=privileged)
            found = reading.find(va, _core_outcome(core, reading))
            if found is None or found.repair is None:
                break
            where, descriptor = found.repair
            repaired.append((where, self.behind.get(where)))
            self.behind.put(where, descriptor)
            self.deviations[found.name] += 1
        for where, descriptor in reversed(repaired):
            self.behind.put(where, descriptor)
        wanted = self._wanted(found, _core_outcome(core, reading))
        self.outcomes[wanted.what, wanted.stage, wanted.on_walk] += 1
        told = f"{va:#x} {write=} {privileged=}: core {core}, SMMU {smmu}, {found}"
        assert _smmu_outcome(smmu) == wanted, told
        if world.nested and isinstance(smmu, Translation) and not reading.has_reserved_type:
            self._compare_attributes(reading, smmu, core)

    def _wanted(self, found: Found | None, core: Outcome) -> Outcome:
        if found is None:
            return core
        assert found.outcome is not None
        if found.name == STATUS_OF_WALK:
            assert (core.stage, core.on_walk) == (2, True)
        self.deviations[found.name] += core != found.outcome
        return found.outcome

    def _compare_attributes(self, reading: Reading, smmu: Translation, core: AtResult) -> None:
        """PAR_EL1 has the attributes of both stages combined, D8.6.5 and D8.6.7."""
        wanted = core.memory
        if reading.device_type is not None:
            wanted = reading.device_type
            self.deviations[DEVICE_TYPE] += core.memory != wanted
        assert smmu.attributes == (wanted, core.shareability)


def _core_outcome(result: AtResult, reading: Reading) -> Outcome:
    """As the core says; what PAR_EL1 leaves out is filled in from the reading."""
    if result.pa is not None:
        return Outcome("ok", result.pa)
    stage, on_walk = result.stage, result.on_walk
    level = result.level if on_walk or stage in reading.walked else None
    address = reading.ipa if stage == 2 and not on_walk else None
    return Outcome(KINDS[result.kind], level, stage, on_walk, address)


def _smmu_outcome(result: Translation | Fault) -> Outcome:
    if isinstance(result, Translation):
        return Outcome("ok", result.pa)
    what = EVENTS[result.code]
    on_walk = result.stage == 2 and result.fetch_class == FetchClass.TT
    address = result.address if result.stage == 2 or what == "external abort" else None
    return Outcome(what, result.level, result.stage, on_walk, address)


@pytest.fixture(scope="module")
def duel() -> Iterator[Duel]:
    fight = Duel()
    yield fight
    fight.core.close()


def probes(world: World) -> Iterator[int]:
    """Addresses worth asking."""
    if world.nested:
        yield from tables.probes(world.first)
        return
    for number, mapping in enumerate(world.second.mappings):
        size = 1 << world.stage2.shift(max(mapping.level, world.stage2.start_level))
        yield mapping.va
        yield mapping.va ^ size - 1
        yield mapping.va + size & tables.MASK64
        yield mapping.va ^ 1 << (world.stage2.input_bits, 47, 48, 63)[number % 4] % 64


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(world=worlds(rig.CD_AT))
def check_world(duel: Duel, world: World) -> None:
    duel.begin(world)
    for va in probes(world):
        duel.compare(world, va)


def test_both_stages_translate_as_the_core_does(duel, capsys):
    check_world(duel)
    with capsys.disabled():
        print(f"\n{duel.comparisons} comparisons; {dict(duel.outcomes)}; {dict(duel.deviations)}")
    assert duel.comparisons >= WANTED_COMPARISONS
    assert all(duel.deviations[name] for name in nested_deviations.NAMES), duel.deviations
