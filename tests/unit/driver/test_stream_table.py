# SPDX-License-Identifier: GPL-2.0-or-later
"""An SMMU that reads an STE at any moment of an update never acts on a mixture.

Between two synchronisations each 64-bit word may be read before or after its store, whatever the
order of the stores. All these mixtures are put before a fresh device, which answers for each of
them as for the old entry or as for the new one; where no way without a gap exists, it may find the
entry invalid. Spec: IHI 0070 3.21.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations

import pytest

from smmu_emu.smmuv3 import Smmuv3
from smmu_emu.smmuv3.spec.ste import STE, Config
from smmu_emu.transaction import Fault, Transaction
from tests.unit.driver.rig import SID, TARGET, Rig

IOVA, IOVA_LOW = 0x1000, 0x5000
C_BAD_STE = 0x04
TRAFFIC = [
    Transaction(SID, IOVA),
    Transaction(SID, IOVA, write=True),
    Transaction(SID, IOVA_LOW, write=True),
    Transaction(SID, TARGET, write=True, privileged=True),
    Transaction(SID, 0x7F_0000_0000),
]

STE_WORDS = 8
Entry = tuple[bytes, ...]


class Update:
    """A driver whose stores to one STE are seen, and the mixtures they allow."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.address = self.rig.driver.stream_table + 64 * SID
        self.epochs: list[tuple[Entry, Entry]] = []
        self.start = self.words()
        self.rig.window.on_doorbell = self._rung

    def words(self) -> Entry:
        data = self.rig.machine.memory.read(self.address, 64)
        assert data is not None
        return tuple(data[i : i + 8] for i in range(0, 64, 8))

    def _rung(self) -> None:
        """A doorbell: what was stored so far may have been seen, and now it must be."""
        now = self.words()
        if now != self.start:
            self.epochs.append((self.start, now))
            self.start = now

    def mixtures(self) -> Iterator[Entry]:
        for before, after in self.epochs:
            changed = [i for i in range(STE_WORDS) if before[i] != after[i]]
            for count in range(len(changed) + 1):
                for chosen in combinations(changed, count):
                    yield tuple(after[i] if i in chosen else before[i] for i in range(STE_WORDS))

    def outcome(self, entry: Entry) -> tuple[object, ...]:
        """What a device without caches makes of the entry."""
        rig = self.rig
        present = self.words()
        rig.machine.memory.write(self.address, b"".join(entry))
        fresh = Smmuv3(rig.machine.memory, rig.smmu.ids)
        fresh.registers.values.update(rig.smmu.registers.values)
        fresh.registers.values["CR0ACK"] &= ~0b100  # its events are not ours
        fresh.path.enable(True)
        answers = [fresh.translate(transaction) for transaction in TRAFFIC]
        rig.machine.memory.write(self.address, b"".join(present))
        return tuple(_summary(answer) for answer in answers)


def _summary(answer: object) -> object:
    if isinstance(answer, Fault):
        return answer.code, answer.stage, answer.abort
    return answer


def _entries(rig: Rig) -> dict[str, STE]:
    first, second = rig.driver.domain(), rig.driver.domain()
    first.map(IOVA, TARGET, 0x1000)
    first.map(IOVA_LOW, 0x1000_0000, 0x1000)
    second.map(IOVA, TARGET + 0x1000, 0x1000)
    second_stage = {
        "S2VMID": 7,
        "S2T0SZ": 25,
        "S2SL0": 1,
        "S2PS": 4,
        "S2AA64": 1,
        "S2AFFD": 1,
        "S2R": 1,
    }
    root, other_root = _stage2_root(rig, 0x4000_0000), _stage2_root(rig, 0x8000_0000)
    stage1 = {"V": 1, "Config": Config.STAGE1, "SHCFG": 1}
    stage2 = {"V": 1, "Config": Config.STAGE2, "SHCFG": 1, **second_stage}
    return {
        "invalid": STE(),
        "abort": STE.make(V=1, Config=Config.ABORT),
        "bypass": STE.make(V=1, Config=Config.BYPASS, SHCFG=1),
        "bypass, device": STE.make(V=1, Config=Config.BYPASS, SHCFG=2, MTCFG=1, MemAttr=0),
        "stage 1": STE.make(**stage1, S1ContextPtr=first.cd_address),
        "stage 1, other": STE.make(**stage1, S1ContextPtr=second.cd_address),
        "stage 2": STE.make(**stage2, S2TTB=root),
        "stage 2, other": STE.make(**{**stage2, "S2VMID": 8}, S2TTB=other_root),
        "nested": STE.make(
            **{**stage2, "Config": Config.NESTED}, S1ContextPtr=first.cd_address, S2TTB=root
        ),
    }


def _stage2_root(rig: Rig, low_gigabyte: int) -> int:
    """A level-1 table: the first gigabyte goes elsewhere, the second stays where it is."""
    root = rig.arena.alloc(0x1000)
    assert root is not None
    block = 1 | 0xF << 2 | 3 << 6 | 3 << 8 | 1 << 10  # write-back, read and write, inner, AF
    for index, address in enumerate((low_gigabyte, 0x4000_0000)):
        rig.machine.memory.write_u64(root + 8 * index, address | block)
    return root


NAMES = [
    *("invalid", "abort", "bypass", "bypass, device", "stage 1", "stage 1, other"),
    *("stage 2", "stage 2, other", "nested"),
]
DEVICE = "bypass, device"
STAGE1, STAGE2 = ("stage 1", "stage 1, other"), ("stage 2", "stage 2, other")
MAY_HAVE_A_GAP = {
    *(frozenset((DEVICE, name)) for name in (*STAGE1, *STAGE2, "nested")),
    *(frozenset((first, second)) for first in STAGE1 for second in (*STAGE2, "nested")),
    *(frozenset(("stage 2, other", name)) for name in ("stage 2", "nested")),
}
"""Both entries use two words that differ: no single store leads from one to the other. (Stage 1
alone uses S2VMID as well.)"""


@pytest.mark.parametrize(("old", "new"), list(permutations(NAMES, 2)))
def test_stream_table_entry_is_never_seen_torn(old: str, new: str) -> None:
    update = Update()
    entries = _entries(update.rig)
    update.rig.driver.write_ste(SID, entries[old])
    update.epochs.clear()
    update.start = update.words()
    update.rig.driver.write_ste(SID, entries[new])
    assert b"".join(update.words()) == entries[new].to_bytes()

    allowed = {update.outcome(_words(entries[old])), update.outcome(_words(entries[new]))}
    invalid = ((C_BAD_STE, 1, True),) * len(TRAFFIC)
    if frozenset((old, new)) in MAY_HAVE_A_GAP:
        allowed.add(invalid)
    seen = {update.outcome(entry) for entry in update.mixtures()}
    assert seen <= allowed
    assert update.epochs


def _words(ste: STE) -> Entry:
    data = ste.to_bytes()
    return tuple(data[i : i + 8] for i in range(0, 64, 8))


def test_the_entries_can_be_told_apart() -> None:
    update = Update()
    entries = _entries(update.rig)
    outcomes = {name: update.outcome(_words(entries[name])) for name in NAMES}
    del outcomes[DEVICE]  # differs from the other bypass in attributes that nobody sees
    assert len(set(outcomes.values())) == len(outcomes)


def test_update_that_changes_nothing_stores_nothing() -> None:
    update = Update()
    ste = _entries(update.rig)["stage 1"]
    update.rig.driver.write_ste(SID, ste)
    update.epochs.clear()
    update.rig.driver.write_ste(SID, ste)
    assert update.epochs == []


def test_every_store_is_followed_by_an_invalidation_and_a_sync() -> None:
    """The device's own caches follow too: traffic after the update goes the new way."""
    rig = Rig()
    driver = rig.driver
    domain = driver.domain()
    domain.map(IOVA, TARGET, 0x1000)
    for _ in range(3):
        driver.bypass(SID)
        assert rig.smmu.translate(TRAFFIC[0]).pa == IOVA
        driver.attach(SID, domain)
        assert rig.smmu.translate(TRAFFIC[0]).pa == TARGET
        driver.detach(SID)
        assert isinstance(rig.smmu.translate(TRAFFIC[0]), Fault)
