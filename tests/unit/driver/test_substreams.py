# SPDX-License-Identifier: GPL-2.0-or-later
"""Address spaces by SubstreamID: tables of Context descriptors, and changes under traffic."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smmu_emu.driver import Domain, DriverError, Substreams
from smmu_emu.driver.hitless import steps, used_by_cd
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.ste import DefaultSubstream
from tests.unit.driver.rig import SID, TARGET, Rig

FULL = PRESETS["full"]
IOVA = 0x4000
C_BAD_SUBSTREAMID, C_BAD_CD, F_STREAM_DISABLED = 0x08, 0x0A, 0x06


def spaces(rig: Rig, count: int) -> list[Domain]:
    """Domains that map `IOVA` to pages of their own."""
    made = []
    for i in range(count):
        domain = rig.driver.domain()
        domain.map(IOVA, TARGET + 0x1000 * i, 0x1000)
        made.append(domain)
    return made


def lands(rig: Rig, substream_id: int | None, page: int) -> bool:
    """Whether a write lands in a page, which is cleared before."""
    rig.machine.memory.write(TARGET + 0x1000 * page, b"\0")
    assert rig.machine.dma(SID).write(IOVA, b"\x77", substream_id=substream_id)
    return rig.machine.memory.read(TARGET + 0x1000 * page, 1) == b"\x77"


def refused(rig: Rig, substream_id: int | None) -> int:
    """The event of a write that must not pass."""
    assert not rig.machine.dma(SID).write(IOVA, b"x", substream_id=substream_id)
    (fault,) = rig.driver.faults.run()
    return fault.code


def attached(rig: Rig, bits: int) -> tuple[Substreams, list[Domain]]:
    """SubstreamIDs 0 to 2, attached as `SID`."""
    substreams, domains = rig.driver.substreams(bits), spaces(rig, 3)
    for substream_id, domain in enumerate(domains):
        substreams[substream_id] = domain
    rig.driver.attach_substreams(SID, substreams)
    return substreams, domains


@pytest.mark.parametrize("bits", [2, 10, 12, 20])
def test_substreams_choose_address_spaces(bits: int) -> None:
    rig = Rig(FULL)
    substreams, domains = attached(rig, bits)
    last = (1 << bits) - 1
    substreams[last] = domains[1]
    assert substreams.table.two_level == (bits > 10)
    assert lands(rig, 1, 1)
    assert lands(rig, 2, 2)
    assert lands(rig, last, 1)
    assert lands(rig, None, 0)
    assert refused(rig, 0) == F_STREAM_DISABLED
    if bits < 20:
        assert refused(rig, last + 1) == C_BAD_SUBSTREAMID


def test_table_of_one_level_holds_descriptors_at_64_bytes_each() -> None:
    rig = Rig(FULL)
    substreams, domains = attached(rig, 4)
    memory = rig.machine.memory
    for substream_id, domain in enumerate(domains):
        found = memory.read(substreams.table.address + 64 * substream_id, 64)
        assert found == domain.cd.to_bytes()
    ste = memory.read(rig.driver.streams.entry(SID), 16)
    assert ste is not None
    assert int.from_bytes(ste[:8], "little") == 0b1011 | substreams.table.address | 4 << 59
    assert int.from_bytes(ste[8:], "little") == 2 | 1 << 44  # S1DSS, SHCFG


def test_table_of_two_levels_has_64_kib_leaves_where_they_are_used() -> None:
    rig = Rig(FULL)
    substreams, domains = attached(rig, 12)
    substreams[3000] = domains[2]
    table = substreams.table.address
    words = [rig.machine.memory.read_u64(table + 8 * i) or 0 for i in range(4)]
    assert [word & 1 for word in words] == [1, 0, 1, 0]
    leaf = words[2] & ~1
    assert leaf % 0x1_0000 == 0
    found = rig.machine.memory.read(leaf + 64 * (3000 - 2048), 64)
    assert found == domains[2].cd.to_bytes()
    ste = rig.machine.memory.read_u64(rig.driver.streams.entry(SID)) or 0
    assert ste == 0b1011 | 2 << 4 | table | 12 << 59


@pytest.mark.parametrize(
    ("default", "code"),
    [(DefaultSubstream.TERMINATE, F_STREAM_DISABLED), (DefaultSubstream.BYPASS, None)],
)
def test_what_becomes_of_traffic_without_substream(
    default: DefaultSubstream, code: int | None
) -> None:
    rig = Rig(FULL)
    substreams, _ = attached(rig, 4)
    rig.driver.attach_substreams(SID, substreams, default)
    assert lands(rig, 0, 0)
    if code is None:
        assert rig.machine.dma(SID).write(TARGET + 0x9000, b"\x01")
        assert rig.machine.memory.read(TARGET + 0x9000, 1) == b"\x01"
    else:
        assert refused(rig, None) == code


def test_change_of_one_substream_is_told_for_that_one() -> None:
    rig = Rig(FULL)
    substreams, domains = attached(rig, 4)
    for i in range(1, 3):
        assert lands(rig, i, i)
    rig.mark()
    substreams[1] = domains[2]
    assert set(rig.counts) == {"CFGI_CD", "SYNC"}
    assert lands(rig, 1, 2)
    assert lands(rig, 2, 2)
    del substreams[2]
    assert refused(rig, 2) == C_BAD_CD
    assert lands(rig, 1, 2)


def test_unmapping_reaches_a_substreams_traffic() -> None:
    rig = Rig(FULL)
    _, domains = attached(rig, 4)
    assert lands(rig, 2, 2)
    domains[2].unmap(IOVA, 0x1000)
    assert refused(rig, 2) == 0x10
    assert lands(rig, 1, 1)


def test_closed_domain_leaves_its_substreams() -> None:
    rig = Rig(FULL)
    substreams, domains = attached(rig, 4)
    substreams[7] = domains[1]
    domains[1].close()
    assert substreams.spaces == {0: domains[0], 2: domains[2]}
    assert refused(rig, 1) == refused(rig, 7) == C_BAD_CD


def test_closed_table_gives_everything_back() -> None:
    rig = Rig(FULL)
    used = rig.arena.used
    for bits in (4, 12):
        substreams = rig.driver.substreams(bits)
        rig.driver.attach_substreams(SID, substreams)
        substreams.close()
        substreams.close()
        assert rig.driver.domains == {}
    assert rig.arena.used == used
    assert not rig.machine.dma(SID).write(IOVA, b"x")


def test_substreams_that_the_device_lacks() -> None:
    with pytest.raises(DriverError, match="SubstreamIDs of 4 bits: the device has 0"):
        Rig().driver.substreams(4)
    with pytest.raises(DriverError, match="SubstreamIDs of 0 bits: the device has 20"):
        Rig(FULL).driver.substreams(0)


def test_substream_beyond_the_table() -> None:
    rig = Rig(FULL)
    substreams, domains = attached(rig, 4)
    with pytest.raises(DriverError, match="SubstreamID 0x10 needs a table of more than 4 bits"):
        substreams[16] = domains[0]


def test_bits_that_a_descriptor_uses_are_these() -> None:
    """Spec 5.4: an invalid one its V alone; a half whose walks EPDx forbids nothing of its own."""
    ones = (1 << 64) - 1
    assert used_by_cd(CD(0)) == 1 << 31
    both = used_by_cd(CD.make(V=1))
    assert [both >> 64 * i & ones for i in range(3)] == [ones, *[0xF00F_FFFF_FFFF_FFF3] * 2]
    lower = used_by_cd(CD.make(V=1, EPD1=1))
    assert [lower >> 64 * i & ones for i in range(3)] == [
        *(0xFFFF_FF7F_C000_FFFF, 0xF00F_FFFF_FFFF_FFF3, 1)
    ]
    upper = used_by_cd(CD.make(V=1, EPD0=1))
    assert [upper >> 64 * i & ones for i in range(3)] == [
        *(0xFFFF_FFBF_FFFF_C000, 1, 0xF00F_FFFF_FFFF_FFF3)
    ]
    assert lower >> 192 == both >> 192 == (1 << 128) - 1


def words(cd: CD) -> list[int]:
    return [cd.value >> 64 * i & (1 << 64) - 1 for i in range(8)]


DESCRIPTORS = st.builds(
    lambda value, v, epd0, epd1: CD(value & CD.mask()).replace(V=v, EPD0=epd0, EPD1=epd1),
    st.integers(0, (1 << 512) - 1),
    st.integers(0, 1),
    st.integers(0, 1),
    st.integers(0, 1),
)


@settings(max_examples=200)
@given(DESCRIPTORS, DESCRIPTORS)
def test_descriptor_is_never_seen_as_a_mixture(old: CD, new: CD) -> None:
    """Whichever of the changed doublewords is read early: it acts as old, new, or is invalid."""

    def meaning(cd: CD) -> tuple[int, int]:
        return used_by_cd(cd), cd.value & used_by_cd(cd)

    allowed = {meaning(old), meaning(new), (CD.mask("V"), 0)}
    before = old
    for after in steps(old, new, used_by_cd):
        changed = [i for i in range(8) if words(before)[i] != words(after)[i]]
        for count in range(len(changed) + 1):
            for early in combinations(changed, count):
                mixed = words(before)
                for i in early:
                    mixed[i] = words(after)[i]
                seen = CD(sum(word << 64 * i for i, word in enumerate(mixed)))
                assert meaning(seen) in allowed
        before = after
    assert before.value == new.value
