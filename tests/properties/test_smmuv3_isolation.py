# SPDX-License-Identifier: GPL-2.0-or-later
"""Isolation: a transaction lands where an independent reading of the tables says, or nowhere.

The worlds start legal and are damaged: fields of STEs and CDs, descriptors at every level of both
stages, substreams, EL2 streams, other granules. Caches are empty before each transaction, so that
memory alone decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from smmu_emu.smmuv3 import IdRegisters
from smmu_emu.transaction import Fault, Transaction, Translation
from tests.strategies import damaged, descriptor_damage, examples, transactions
from tests.table_reader import Access, TableReader
from tests.unit.smmuv3.rig import (
    BLOCK,
    CD_AT,
    GUEST,
    NESTED_STE,
    PAGE,
    PLAIN_CD,
    RAM,
    RAM_SIZE,
    S1_STE,
    S2_RW,
    S2_STE,
    SID,
    STREAM_TABLE,
    Bench,
    Tree,
    make_ids,
)
from tests.unit.smmuv3.spec import literals

# No two in one 512 MiB, the largest block that any granule has on level 2.
IOVAS = [0x5000, 0x20_0040_0000, 0x51_2345_6000, 0xFFFF_FFFF_FFFF_5000]
PAGES = [0x60_0000_0000, 0x23_4567_0000, 0x9_0000_0000, 0x7_8000_0000]
CD_TABLE = CD_AT  # sixteen CDs

IDS = [
    make_ids(),
    make_ids("qemu-stage1"),
    make_ids(OAS=6, VAX=1, STT=1, FWB=1, ATTR_PERMS_OVR=1),
    make_ids(SSIDSIZE=4, CD2L=1, Hyp=1, ATTR_PERMS_OVR=1, ATTR_TYPES_OVR=1),
    make_ids(OAS=2, XNX=0, HAD=0, VMID16=0, ASID16=0, GRAN16K=0, RIL=0, BBML=0, minor=0),
]
TG0 = {12: 0, 16: 1, 14: 2}
TG1 = {14: 1, 12: 2, 16: 3}


@dataclass
class Plan:
    """What a world is made of before it is damaged."""

    ids: IdRegisters
    config: int
    first_lg2: int
    second_lg2: int
    levels: tuple[int, ...]
    second_levels: tuple[int, ...]
    leaf_bits: tuple[int, ...]
    substreams: int


plans = st.builds(
    Plan,
    ids=st.sampled_from(IDS),
    config=st.sampled_from([0b111, 0b101, 0b110, 0b111, 0b101, 0b100]),
    first_lg2=st.sampled_from([12, 12, 14, 16]),
    second_lg2=st.sampled_from([12, 12, 14, 16]),
    levels=st.tuples(*[st.sampled_from([3, 3, 2])] * 4),
    second_levels=st.tuples(*[st.sampled_from([2, 3])] * 4),
    leaf_bits=st.tuples(*[st.sampled_from([0x440, 0xC40, 0x740, 0x4C0, 0x400])] * 4),
    substreams=st.sampled_from([0, 0, 0, 2]),
)


class World:
    """A bench built by a plan; ``descriptors`` are the places that damage may hit."""

    def __init__(self, plan: Plan) -> None:
        self.bench = Bench(plan.ids)
        self.descriptors: list[int] = []
        self.plan = plan
        nested = plan.config == 0b111
        self.delta = -GUEST if nested else 0
        ste: dict[str, int] = {**S1_STE, "Config": plan.config}
        if plan.config & 2:
            base = NESTED_STE if nested else S2_STE
            ste = {**base, **self._stage2(), "Config": plan.config}
        if plan.config & 1:
            ste["S1ContextPtr"] = CD_TABLE - self.delta
            ste["S1CDMax"] = plan.substreams
            self._stage1()
        self.bench.ste(**ste)

    def _note(self, tree: Tree, address: int, level: int) -> None:
        for above in range(tree.start_level, level + 1):
            self.descriptors.append(tree.at(address, above) + tree.delta)

    def _leaf(self, tree: Tree, address: int, level: int, page: int, bits: int) -> None:
        """A leaf; block sizes that a granule lacks are part of the damage."""
        page &= -(1 << tree.shift(level))
        tree.set(address, level, page | bits | (PAGE if level == 3 else BLOCK))
        self._note(tree, address, level)

    def _stage1(self) -> None:
        plan, bench = self.plan, self.bench
        low = Tree(bench, plan.first_lg2, 39, delta=self.delta)
        high = Tree(bench, plan.first_lg2, 39, delta=self.delta)
        for iova, page, level, bits in zip(IOVAS, PAGES, plan.levels, plan.leaf_bits, strict=True):
            self._leaf(high if iova >> 55 else low, iova, level, page, bits)
        granule = {"TG0": TG0[plan.first_lg2], "TG1": TG1[plan.first_lg2]}
        fields = {**PLAIN_CD, **granule, "EPD1": 0, "T1SZ": 25}
        for number in range(1 << plan.substreams):
            halves = {"TTB0": low.root, "TTB1": high.root, "ASID": number}
            bench.cd(CD_TABLE + 64 * number, **{**fields, **halves})

    def _stage2(self) -> dict[str, int]:
        plan, bench = self.plan, self.bench
        level = {12: 1, 14: 2, 16: 2}[plan.second_lg2]
        tree = Tree(bench, plan.second_lg2, 39, level)
        block = 1 << tree.shift(2)
        for offset in range(0, max(RAM_SIZE, block), block):
            at = (GUEST + RAM + offset) & -block
            tree.set(at, 2, RAM + offset & -block | S2_RW | BLOCK)
        for number, page in enumerate(reversed(PAGES)):
            address = self._input_of_stage2(number)
            if address is not None:
                self._leaf(tree, address, plan.second_levels[number], page, S2_RW)
        sl0 = {12: 1, 14: 1, 16: 1}[plan.second_lg2]
        return {"S2TG": TG0[plan.second_lg2], "S2SL0": sl0, "S2TTB": tree.root}

    def _input_of_stage2(self, number: int) -> int | None:
        """The address that stage 2 sees for one of ``IOVAS``; None if it cannot take it."""
        plan, iova = self.plan, IOVAS[number]
        if not plan.config & 1:
            return iova if iova >> 39 == 0 else None
        size = 1 << plan.first_lg2 + (3 - plan.levels[number]) * (plan.first_lg2 - 3)
        return PAGES[number] & -size | iova & size - 1

    def damage(self, where: int, changes: list[tuple[int, int, int]]) -> None:
        """Change fields of a structure."""
        for number, mask, bits in changes:
            word = self.bench.memory.read_u64(where + 8 * number)
            assert word is not None
            self.bench.write64(where + 8 * number, word & ~mask | bits)

    def flip(self, number: int, masks: list[int]) -> None:
        """Flip bits of a descriptor."""
        if self.descriptors:
            where = self.descriptors[number % len(self.descriptors)]
            word = self.bench.memory.read_u64(where)
            assert word is not None
            for mask in masks:
                word ^= mask
            self.bench.write64(where, word)

    def check(self, transaction: Transaction) -> None:
        """The device, with empty caches, must agree with the reader."""
        bench = self.bench
        bench.forget()
        reader = TableReader(bench.r, bench.memory.read_u64)
        sid, iova, write, privileged, instruction, ssid = transaction
        expected = reader.lands(sid, iova, Access(write, privileged, instruction), ssid)
        for _ in range(2):  # a walk, then a hit
            result = bench.smmu.translate(transaction)
            landed = result.pa if isinstance(result, Translation) else None
            assert landed == expected, (transaction, result)
        bench.events()


substreams = st.one_of(st.none(), st.none(), st.none(), st.integers(0, 5))
traffic = st.lists(transactions(IOVAS, st.just(SID), substreams), min_size=1, max_size=6)


@settings(max_examples=examples(400))
@given(plan=plans, transactions=traffic)
def test_undamaged_world_gives_what_its_tables_say(
    plan: Plan, transactions: list[Transaction]
) -> None:
    world = World(plan)
    for transaction in transactions:
        world.check(transaction)


@settings(max_examples=examples(500))
@given(
    plan=plans,
    ste=damaged(literals.STE, 64),
    cd=damaged(literals.CD, 64),
    transactions=traffic,
)
def test_damaged_structures_let_nothing_through_that_they_do_not_describe(
    plan: Plan,
    ste: list[tuple[int, int, int]],
    cd: list[tuple[int, int, int]],
    transactions: list[Transaction],
) -> None:
    world = World(plan)
    world.damage(STREAM_TABLE + 64 * SID, ste)
    if plan.config & 1:
        world.damage(CD_TABLE, cd)
    for transaction in transactions:
        world.check(transaction)


@settings(max_examples=examples(600))
@given(
    plan=plans,
    flips=st.lists(st.tuples(st.integers(0, 40), descriptor_damage), min_size=1, max_size=6),
    transactions=traffic,
)
def test_damaged_descriptors_let_nothing_through_that_they_do_not_describe(
    plan: Plan, flips: list[tuple[int, list[int]]], transactions: list[Transaction]
) -> None:
    world = World(plan)
    for number, masks in flips:
        world.flip(number, masks)
    for transaction in transactions:
        world.check(transaction)


@settings(max_examples=examples(150))
@given(plan=plans, words=st.lists(st.integers(0, (1 << 64) - 1), min_size=8, max_size=8))
def test_random_ste_is_judged_like_the_reader_does(plan: Plan, words: list[int]) -> None:
    world = World(plan)
    for number, word in enumerate(words):
        world.bench.write64(STREAM_TABLE + 64 * SID + 8 * number, word | (not number))
    for iova in IOVAS:
        world.check(Transaction(SID, iova))


def test_reader_agrees_where_the_answer_is_known() -> None:
    """The witness itself, on tables written by hand."""
    bench = Bench()
    tree = Tree(bench)
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root})
    tree.page(0x5000, 0x8_0000_0000, 0x4C0)
    reader = TableReader(bench.r, bench.memory.read_u64)

    assert reader.lands(SID, 0x5123, Access(False, False, False)) == 0x8_0000_0123
    assert reader.lands(SID, 0x5123, Access(True, True, False)) is None
    assert reader.lands(SID, 0x6123, Access(False, False, False)) is None
    assert reader.lands(SID + 1, 0x5123, Access(False, False, False)) is None
    assert isinstance(bench.go(0x6123), Fault)
