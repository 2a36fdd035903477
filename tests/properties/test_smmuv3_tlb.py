# SPDX-License-Identifier: GPL-2.0-or-later
"""Random map, unmap, invalidate and DMA against a model of what may be cached.

The model is a dictionary of translations by address space and slot. It is told what the commands
reach by the architecture (IHI 0070 4.4), and predicts every result exactly, stale ones included:
the device keeps what it has seen until it is told to drop it.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from smmu_emu.transaction import Translation
from tests.strategies import examples
from tests.unit.smmuv3.rig import (
    AF,
    BLOCK,
    GUEST,
    NG,
    PAGE,
    PLAIN_CD,
    RAM,
    RAM_SIZE,
    S1_STE,
    S2_RW,
    S2_STE,
    USER,
    Bench,
    Tree,
    cmd,
)

SLOTS = 4
SLOT_LG2 = 21
OUT = 0x100_0000_0000
IPA_SLOTS = 0x8_0000_0000


class Stream(NamedTuple):
    """One stream and its address space."""

    sid: int
    kind: str
    vmid: int
    asid: int


STREAMS = [
    Stream(0x10, "s1", 7, 3),
    Stream(0x11, "s1", 7, 4),
    Stream(0x12, "s1", 8, 3),
    Stream(0x13, "s2", 7, 0),
    Stream(0x14, "s2", 8, 0),
    Stream(0x15, "nested", 9, 3),
]


class Mapping(NamedTuple):
    """What a slot's descriptor says: output slot number, level of the leaf, global or not."""

    out: int
    level: int
    shared: bool


class Cached(NamedTuple):
    """A cached translation: what it gives, and what invalidations look at."""

    pa: int
    level: int


Space = tuple[str, int, int | None]


class Model:
    """Translations by space and slot."""

    def __init__(self) -> None:
        self.cached: dict[tuple[Space, int], Cached] = {}

    def find(self, spaces: tuple[Space, ...], slot: int) -> Cached | None:
        """The first space that has the slot."""
        for space in spaces:
            if (space, slot) in self.cached:
                return self.cached[space, slot]
        return None

    def invalidate(self, name: str, fields: dict[str, int]) -> None:
        """Drop what a command reaches. Spec: 4.4."""
        vmid, asid = fields.get("VMID", 0), fields.get("ASID", 0)
        for (space, slot), entry in list(self.cached.items()):
            kind, of_vmid, of_asid = space
            if name == "TLBI_NSNH_ALL":
                hit = True
            elif name == "TLBI_S12_VMALL":
                hit = of_vmid == vmid
            elif name == "TLBI_NH_ALL":
                hit = kind != "s2" and of_vmid == vmid
            elif name == "TLBI_NH_ASID":
                hit = kind != "s2" and (of_vmid, of_asid) == (vmid, asid)
            else:
                hit = of_vmid == vmid and self._by_address(name, fields, space, slot, entry)
            if hit:
                del self.cached[space, slot]

    @staticmethod
    def _by_address(
        name: str, fields: dict[str, int], space: Space, slot: int, entry: Cached
    ) -> bool:
        kind, _, of_asid = space
        if (kind == "s2") != (name == "TLBI_S2_IPA"):
            return False
        if name == "TLBI_NH_VA" and of_asid not in (None, fields["ASID"]):
            return False
        size = 0x1000
        if fields["TG"]:
            if fields["TTL"] not in (0, entry.level):
                return False
            size = (fields["NUM"] + 1 << fields["SCALE"]) * 0x1000
        nested_ipa = kind == "s2" and slot >= SLOTS
        first = IPA_SLOTS + (slot - SLOTS << SLOT_LG2) if nested_ipa else slot << SLOT_LG2
        length = 0x1000 if entry.level == 3 else 1 << SLOT_LG2
        return fields["Address"] < first + length and first < fields["Address"] + size


class World:
    """Device and model side by side."""

    def __init__(self) -> None:
        self.bench = bench = Bench()
        self.model = Model()
        self.trees: dict[int, Tree] = {}
        self.maps: dict[tuple[int, int], Mapping] = {}
        self.ipas: dict[int, Mapping] = {}
        for stream in STREAMS:
            self._add(stream)
        self.second = Tree(bench, start_level=1)
        for offset in range(0, RAM_SIZE, 1 << 21):
            self.second.set(GUEST + RAM + offset, 2, RAM + offset | S2_RW | BLOCK)
        nested = STREAMS[-1]
        fields = {**S2_STE, "Config": 7, "S2VMID": 9, "S2TTB": self.second.root}
        bench.ste(nested.sid, **{**fields, "S1ContextPtr": self.cd + GUEST})

    def _add(self, stream: Stream) -> None:
        bench = self.bench
        if stream.kind == "s2":
            tree = Tree(bench, start_level=1)
            bench.ste(stream.sid, **{**S2_STE, "S2VMID": stream.vmid, "S2TTB": tree.root})
        else:
            tree = Tree(bench, delta=-GUEST if stream.kind == "nested" else 0)
            self.cd = bench.alloc(64)
            bench.cd(self.cd, **{**PLAIN_CD, "TTB0": tree.root, "ASID": stream.asid})
            fields = {**S1_STE, "S2VMID": stream.vmid, "S1ContextPtr": self.cd}
            bench.ste(stream.sid, **fields)
        self.trees[stream.sid] = tree

    def map(self, stream: Stream, slot: int, mapping: Mapping | None) -> None:
        """Write a slot's descriptor, or clear it."""
        self.maps.pop((stream.sid, slot), None)
        tree = self.trees[stream.sid]
        base = IPA_SLOTS if stream.kind == "nested" else OUT
        if mapping is not None:
            self.maps[stream.sid, slot] = mapping
        self._write(tree, slot << SLOT_LG2, mapping, base, stream.kind == "s2")

    def map_ipa(self, slot: int, mapping: Mapping | None) -> None:
        """The same for stage 2 of the nested stream."""
        self.ipas.pop(slot, None)
        if mapping is not None:
            self.ipas[slot] = mapping
        self._write(self.second, IPA_SLOTS + (slot << SLOT_LG2), mapping, OUT, True)

    @staticmethod
    def _write(tree: Tree, address: int, mapping: Mapping | None, base: int, second: bool) -> None:
        tree.set(address, 2, 0)
        if mapping is None:
            return
        bits = S2_RW if second else USER | AF | (0 if mapping.shared else NG)
        word = base + (mapping.out << SLOT_LG2) | bits
        if mapping.level == 2:
            tree.set(address, 2, word | BLOCK)
        else:
            tree.set(address, 3, word | PAGE)

    def dma(self, stream: Stream, slot: int) -> None:
        """One transaction; the model must have predicted it."""
        expected = self._predict(stream, slot)
        result = self.bench.go(slot << SLOT_LG2, sid=stream.sid)
        assert (result.pa if isinstance(result, Translation) else None) == expected, (stream, slot)
        self.bench.events()

    def _predict(self, stream: Stream, slot: int) -> int | None:
        own: Space = (stream.kind, stream.vmid, stream.asid)
        shared: Space = (stream.kind, stream.vmid, None)
        if stream.kind == "s2":
            own = shared = ("s2", stream.vmid, None)
        hit = self.model.find((own, shared), slot)
        if hit is not None:
            return hit.pa
        mapping = self.maps.get((stream.sid, slot))
        if mapping is None:
            return None
        pa: int | None = OUT + (mapping.out << SLOT_LG2)
        if stream.kind == "nested":
            pa = self._predict_ipa(mapping.out)
        if pa is None:
            return None
        where = shared if mapping.shared else own
        self.model.cached[where, slot] = Cached(pa, mapping.level)
        return pa

    def _predict_ipa(self, slot: int) -> int | None:
        space: Space = ("s2", 9, None)
        hit = self.model.find((space,), SLOTS + slot)
        if hit is not None:
            return hit.pa
        mapping = self.ipas.get(slot)
        if mapping is None:
            return None
        pa = OUT + (mapping.out << SLOT_LG2)
        self.model.cached[space, SLOTS + slot] = Cached(pa, mapping.level)
        return pa

    def invalidate(self, name: str, fields: dict[str, int]) -> None:
        """The same command to both."""
        self.bench.do(cmd(name, **fields))
        self.model.invalidate(name, fields)


slots = st.integers(0, SLOTS - 1)
mappings = st.one_of(
    st.none(),
    *[st.builds(Mapping, st.integers(0, 3), st.sampled_from([2, 3]), st.booleans())] * 3,
)
vmids, asids = st.sampled_from([7, 8, 9]), st.sampled_from([3, 4])
by_address = st.fixed_dictionaries(
    {
        "VMID": vmids,
        "ASID": asids,
        "Address": st.builds(
            lambda slot, page, base: (slot << SLOT_LG2) + (page << 12) + base,
            slots,
            st.sampled_from([0, 0, 1, 0x1FF]),
            st.just(0),
        ),
        "TG": st.sampled_from([0, 0, 1]),
        "TTL": st.sampled_from([0, 2, 3]),
        "NUM": st.sampled_from([1, 1, 3]),
        "SCALE": st.sampled_from([0, 9, 10]),
        "Leaf": st.integers(0, 1),
    }
).map(lambda fields: fields if fields["TG"] else {**fields, "TTL": 0, "NUM": 0, "SCALE": 0})
invalidations = st.one_of(
    st.tuples(st.sampled_from(["TLBI_NH_VA", "TLBI_NH_VAA"]), by_address),
    st.tuples(st.sampled_from(["TLBI_NH_VA", "TLBI_NH_VAA"]), by_address),
    st.tuples(st.just("TLBI_S2_IPA"), by_address),
    st.tuples(
        st.just("TLBI_S2_IPA"),
        by_address.map(lambda f: {**f, "VMID": 9, "Address": f["Address"] + IPA_SLOTS}),
    ),
    st.tuples(
        st.sampled_from(["TLBI_NH_ALL", "TLBI_NH_ASID", "TLBI_S12_VMALL"]),
        st.fixed_dictionaries({"VMID": vmids, "ASID": asids}),
    ),
    st.tuples(st.just("TLBI_NSNH_ALL"), st.just({})),
)
streams = st.sampled_from(STREAMS)
steps = st.one_of(
    *[st.tuples(st.just("invalidate"), invalidations)] * 2,
    *[st.tuples(st.just("dma"), streams, slots)] * 2,
    st.tuples(st.just("map"), streams, slots, mappings),
    st.tuples(st.just("map_ipa"), slots, mappings),
)


moved = st.integers(4, 7)
"""Outputs that the first phase does not use: whoever still sees the old one was cached."""


@settings(max_examples=examples(200))
@given(
    start=st.lists(mappings, min_size=12, max_size=12),
    steps=st.lists(steps, min_size=4, max_size=30),
    out=moved,
)
def test_cached_translations_live_exactly_until_they_are_invalidated(
    start: list[Mapping | None], steps: list[tuple[object, ...]], out: int
) -> None:
    world = World()
    spots = [(stream, slot) for stream in STREAMS for slot in range(SLOTS)]
    for slot in range(SLOTS):
        world.map_ipa(slot, start[slot])
    for number, (stream, slot) in enumerate(spots):
        world.map(stream, slot, start[number % len(start)])
        world.dma(stream, slot)
    for stream, slot in spots:
        if (mapping := world.maps.get((stream.sid, slot))) is not None and stream.kind != "nested":
            world.map(stream, slot, mapping._replace(out=out))
    for slot, mapping in list(world.ipas.items()):
        world.map_ipa(slot, mapping._replace(out=out))
    for name, *operands in steps:
        if name == "invalidate":
            command, fields = operands[0]  # type: ignore[misc]
            world.invalidate(command, fields)
        else:
            getattr(world, str(name))(*operands)
    for stream, slot in spots:
        world.dma(stream, slot)
