# SPDX-License-Identifier: GPL-2.0-or-later
"""A small SMMU world full of streams, from a seed.

Streams share VMIDs, ASIDs and tables, rightly and wrongly; granules, substreams, both stages, EL2,
hardware updates, stalls and ATS as far as the ID registers have them.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from smmu_emu.smmuv3 import IdRegisters, Smmuv3
from smmu_emu.tlb import Tlb
from tests.properties.history import RecordedMemory
from tests.unit.smmuv3.rig import AF, BLOCK, GUEST, HEAP, PAGE, PXN, RAM, UXN, Bench, Tree
from tests.unit.smmuv3.spec import literals

RAM_SIZE = 16 << 20
STREAM_TABLE, COMMAND_QUEUE, EVENT_QUEUE = RAM, RAM + 0x2_0000, RAM + 0x4_0000
PRI_QUEUE, CDS = RAM + 0x5_0000, RAM + 0x6_0000
ADDRESSES = (
    0x5000,
    0x6000,
    0x20_0000,
    0x4000_5000,
    0x51_2345_6000,
    0xFFFF_FFFF_FFFF_5000,
    0xFFFF_FF80_0020_0000,
)
FRAMES = (0x60_0000_0000, 0x23_4567_0000, 0x9_0000_0000, 0x7_8000_0000, 0x3_0000_0000)
VMIDS, ASIDS = (7, 8, 9), (3, 4, 5)
TG0, TG1 = {12: 0, 16: 1, 14: 2}, {14: 1, 12: 2, 16: 3}
KINDS = {"s1": 5, "s2": 6, "nested": 7, "bypass": 4}


class Slot(NamedTuple):
    """A descriptor: where it lies, for which input address, on which level."""

    where: int
    address: int
    level: int
    granule: int


class Spot(NamedTuple):
    """An address of a stream that was mapped by the leaf in ``slot``, and its tags."""

    sid: int
    ssid: int | None
    slot: Slot
    vmid: int
    asid: int
    world: str


class Streams(Bench):
    """Eight streams, or as many as there can be. ``spots`` are the addresses they were given."""

    def __init__(self, ids: IdRegisters, seed: int) -> None:
        self.memory = RecordedMemory()
        self.memory.add_ram(RAM, RAM_SIZE)
        self.smmu = Smmuv3(self.memory, ids, tlb=Tlb(64) if seed % 4 == 0 else None)
        self.unused, self.prod = HEAP, 0
        self.random = Random(seed)
        self.ids = {
            name: (self.r(f"IDR{number}") & mask) >> (mask & -mask).bit_length() - 1
            for number in (0, 1, 3, 5)
            for name, mask in literals.REGISTER_FIELDS[f"IDR{number}"].items()
        }
        self.sids = range(1 << min(3, self.ids["SIDSIZE"]))
        self.commands_lg2, self.events_lg2 = min(8, self.ids["CMDQS"]), min(5, self.ids["EVENTQS"])
        names = {12: "GRAN4K", 14: "GRAN16K", 16: "GRAN64K"}
        self.granules = [granule for granule, name in names.items() if self.ids[name]]
        self.slots: list[Slot] = []
        self.spots: list[Spot] = []
        self.behind: dict[int, list[Slot]] = {}
        """Leaves of stage 2, by VMID."""
        self.with_substreams: set[int] = set()
        self._seconds: dict[int, dict[str, int]] = {}
        self._start()
        for sid, kind in zip(self.sids, self._kinds(), strict=False):
            self._add(sid, kind)

    def word(self, where: int) -> int:
        """A word of RAM."""
        word = self.memory.read_u64(where)
        assert word is not None
        return word

    def _start(self) -> None:
        self.w("STRTAB_BASE", STREAM_TABLE)
        self.w("STRTAB_BASE_CFG", min(self.ids["SIDSIZE"], 4))
        e2h = self.random.getrandbits(1) if self.ids["Hyp"] else 0
        self.w("CR2", 2 | e2h)
        self.w("CMDQ_BASE", COMMAND_QUEUE | self.commands_lg2)
        self.w("EVENTQ_BASE", EVENT_QUEUE | self.events_lg2)
        self.enabled = 0xD
        if self.ids["PRI"]:
            self.w("PRIQ_BASE", PRI_QUEUE | 3)
            self.enabled |= 2
        if self.ids["ATS"]:
            self.enabled |= 0x10 * self.random.getrandbits(1)
        self.w("IRQ_CTRL", 7)
        self.w("CR0", self.enabled)

    def _kinds(self) -> list[str]:
        kinds = ["s1", "s1", "s2", "nested", "nested", "s1", "s1", "bypass"]
        if not self.ids["S2P"]:
            return ["s1"] * 7 + ["bypass"]
        if len(self.sids) < len(kinds):
            self.random.shuffle(kinds)
        return kinds

    def _add(self, sid: int, kind: str) -> None:
        """A stream's STE, CDs and tables."""
        pick, ids = self.random.choice, self.ids
        stall = {0: pick((0, 0, 1)), 1: 0, 2: 1}[ids["STALL_MODEL"]]
        vmid = pick(VMIDS)
        fields = {"V": 1, "Config": KINDS[kind], "SHCFG": 1, "S2VMID": vmid, "S2R": 1}
        if ids["ATS"] and not stall and kind != "bypass":
            fields["EATS"] = pick((0, 1, 2 if kind == "nested" and not ids["NS1ATS"] else 1))
        world = kind
        if kind == "s1" and ids["Hyp"]:
            fields["STRW"] = pick((0, 0, 2))
            world = "el2" if fields["STRW"] else "s1"
        if kind in ("s2", "nested"):
            fields |= {**self._second(vmid), "S2S": stall}
        if kind in ("s1", "nested"):
            fields |= self._first(sid, vmid, world, stall)
        if kind == "s2":
            self.spots += [Spot(sid, None, slot, vmid, 0, world) for slot in self.behind[vmid]]
        self.ste(sid, at=STREAM_TABLE + 64 * sid, **fields)

    def _second(self, vmid: int) -> dict[str, int]:
        """Stage 2, often the one that another stream with the VMID has."""
        if vmid in self._seconds and self.random.random() < 0.7:
            return self._seconds[vmid]
        granule = self.random.choice(self.granules)
        tree = Tree(self, granule, 39, 1 if granule == 12 else 2)
        block = 1 << tree.shift(2)
        for offset in range(0, max(RAM_SIZE, block), block):
            at = GUEST + RAM + offset & -block
            self._set(tree, at, 2, RAM + offset & -block | self._second_bits(good=True) | BLOCK)
        addresses = [address & (1 << 39) - 1 for address in (*ADDRESSES, *FRAMES)]
        leaves = [self._leaf(tree, address, self._second_bits()) for address in addresses]
        self.behind[vmid] = [slot for slot in leaves if slot is not None]
        access, dirty = self._updates()
        # fmt: off
        self._seconds[vmid] = {
            "S2T0SZ": 25, "S2SL0": 1, "S2TG": TG0[granule], "S2PS": self.ids["OAS"], "S2AA64": 1,
            "S2TTB": tree.root, "S2HA": access, "S2HD": dirty,
            "S2AFFD": self.random.getrandbits(1), "S2PTW": self.random.getrandbits(1),
        }
        # fmt: on
        return self._seconds[vmid]

    def _first(self, sid: int, vmid: int, world: str, stall: int) -> dict[str, int]:
        """CDs with tables of their own, or shared ones."""
        pick = self.random.choice
        delta = -GUEST if world == "nested" else 0
        count_lg2 = pick((0, min(2, self.ids["SSIDSIZE"])))
        if count_lg2:
            self.with_substreams.add(sid)
        tables = [self._halves(delta) for _ in range(2 if count_lg2 else 1)]
        for number in range(1 << count_lg2):
            (roots, leaves), asid, (access, dirty) = pick(tables), pick(ASIDS), self._updates()
            # fmt: off
            fields = {
                "V": 1, "AA64": 1, "A": 1, "R": 1, "S": stall, "IPS": self.ids["OAS"],
                "ASID": asid, "ASET": pick((0, 0, 1)), "AFFD": pick((0, 0, 1)),
                "TBI0": pick((0, 1)), "TBI1": pick((0, 1)), "WXN": pick((0, 0, 1)),
                "PAN": pick((0, 0, 1)), "HA": access, "HD": dirty,
                "HAD0": pick((0, 1)), "HAD1": pick((0, 1)), "MAIR0": 0xFF44,
            }
            # fmt: on
            self.cd(CDS + 0x400 * sid + 64 * number, **{**fields, **roots})
            ssid = number if count_lg2 else None
            self.spots += [Spot(sid, ssid, leaf, vmid, asid, world) for leaf in leaves]
        pointer = CDS + 0x400 * sid - delta
        return {"S1ContextPtr": pointer, "S1CDMax": count_lg2, "S1DSS": pick((0, 1, 1, 2, 2))}

    def _halves(self, delta: int) -> tuple[dict[str, int], list[Slot]]:
        """Both tables of a CD, and their leaves."""
        granule = self.random.choice(self.granules)
        low, high = (Tree(self, granule, 39, delta=delta) for _ in range(2))
        leaves = [
            self._leaf(high if address >> 55 else low, address, self._first_bits())
            for address in ADDRESSES
        ]
        roots = {"TTB0": low.root, "TTB1": high.root, "TG0": TG0[granule], "TG1": TG1[granule]}
        return {**roots, "T0SZ": 25, "T1SZ": 25}, [slot for slot in leaves if slot is not None]

    def _updates(self) -> tuple[int, int]:
        """HA and HD."""
        return self.random.choice(((0, 0), (1, 0), (1, 1))) if self.ids["HTTU"] == 2 else (0, 0)

    def _leaf(self, tree: Tree, address: int, bits: int) -> Slot | None:
        level = self.random.choice((3, 3, 2))
        page = self.random.choice(FRAMES) & -(1 << tree.shift(level))
        return self._set(tree, address, level, page | bits | (PAGE if level == 3 else BLOCK))

    def _set(self, tree: Tree, address: int, level: int, word: int) -> Slot | None:
        """Write a descriptor if nothing is there yet, nor a block above it."""
        for above in range(tree.start_level, level):
            where = tree.at(address, above) + tree.delta
            if self.word(where) & 3 == BLOCK:
                return None
            self._note(Slot(where, address, above, tree.granule_lg2))
        slot = Slot(tree.at(address, level) + tree.delta, address, level, tree.granule_lg2)
        self._note(slot)
        if self.word(slot.where) & 1:
            return None
        self.write64(slot.where, word)
        return slot

    def _note(self, slot: Slot) -> None:
        if slot.where not in [known.where for known in self.slots]:
            self.slots.append(slot)

    def _first_bits(self) -> int:
        """AP, nG, DBM, PXN and UXN as they come; mostly the access flag."""
        access = self.random.choice((0b01, 0b01, 0b01, 0b01, 0b00, 0b10, 0b11))
        bits = access << 6 | self.random.getrandbits(1) << 11
        bits |= self.random.choice((0, 0, 0, PXN, UXN)) | self.random.getrandbits(1) << 51
        return bits | (AF if self.random.random() < 0.85 else 0) | 4

    def _second_bits(self, *, good: bool = False) -> int:
        bits = 0xC0 if good or self.random.random() < 0.85 else self.random.getrandbits(2) << 6
        bits |= self.random.choice((0, 0, 0, 1, 2, 3)) << 53 | self.random.getrandbits(1) << 51
        flag = AF if good or self.random.random() < 0.85 else 0
        return bits | flag | (0x3C if self.random.random() < 0.9 else 0)
