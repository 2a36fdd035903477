# SPDX-License-Identifier: GPL-2.0-or-later
"""Contents of RAM are put back at the same host address, in any order."""

from __future__ import annotations

import pytest

from smmu_emu import ram_image
from smmu_emu.memory import PhysicalMemory, Ram

SIZE = 64 << 20


def _refuse(*_: object) -> None:
    raise OSError


@pytest.fixture(params=["scan", "read", "guess"])
def ram(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ram:
    """RAM on hosts that tell which pages were touched, tell it slowly, or do not tell."""
    if request.param == "read":
        monkeypatch.setattr(ram_image, "_scan", _refuse)
    if request.param == "guess":
        monkeypatch.setattr(ram_image, "touched", lambda _, size: iter([(0, size)]))
    return Ram(0x4000_0000, 1 << 20 if request.param == "guess" else SIZE)


def test_both_ways_of_asking_the_kernel_agree() -> None:
    ram = Ram(0, SIZE)
    for offset in (0, 0x1000, 0x5000, SIZE - 1):
        ram.view[offset] = 1
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        try:
            scanned = ram_image._scan(file, ram.host_address, ram.size)
        except OSError:
            pytest.skip("this kernel does not scan")
        read = list(ram_image._read_all(file, ram.host_address, ram.size))
    assert scanned == read
    assert scanned[0] == (0, 0x2000)


def test_contents_come_back_in_any_order(ram: Ram) -> None:
    address, last = ram.host_address, ram.size - 1
    images = [ram.keep()]
    for number in (1, 2, 3):
        ram.view[0x1000] = ram.view[last] = number
        ram.view[0x3000 * number] = 9
        images.append(ram.keep())
    for number in (2, 0, 3, 3, 1, 0):
        ram.put_back(images[number])
        assert (ram.view[0x1000], ram.view[last]) == (number, number)
        assert [ram.view[0x3000 * n] for n in (1, 2, 3)] == [9 * (n <= number) for n in (1, 2, 3)]
        assert ram.host_address == address
        ram.view[0x1000] = 77  # never reaches an image
    assert images[2].read(0x1000, 1) == b"\2"


def test_image_of_an_image_holds_what_was_not_touched_since(ram: Ram) -> None:
    ram.view[0x5000] = 5
    first = ram.keep()
    ram.put_back(first)
    ram.view[0x6000] = 6
    second = ram.keep()
    ram.clear()
    assert (ram.view[0x5000], ram.view[0x6000]) == (0, 0)
    ram.put_back(second)
    assert (ram.view[0x5000], ram.view[0x6000]) == (5, 6)


def test_clear_after_putting_back_is_zero_and_leaves_the_image(ram: Ram) -> None:
    ram.view[0] = 1
    image = ram.keep()
    ram.put_back(image)
    ram.clear()
    assert ram.view[0] == 0
    ram.put_back(image)
    assert ram.view[0] == 1


def test_image_takes_no_more_than_what_was_touched() -> None:
    ram = Ram(0, SIZE)
    ram.view[SIZE // 2] = 1
    touched = sum(end - start for start, end in ram.keep().pieces())
    assert 0 < touched <= 4 << 20


def test_code_that_differs_is_announced_and_other_code_is_not() -> None:
    memory = PhysicalMemory()
    ram = memory.add_ram(0x4000_0000, 1 << 20)
    heard = list[tuple[int, int]]()
    memory.code_written = lambda pa, size: heard.append((pa, size))
    memory.code_frames |= {0x40001, 0x40002}
    kept = memory.keep_state()
    ram.view[0x1008] = 1
    ram.view[0x3000] = 1
    memory.put_back_state(kept)
    assert heard == [(0x4000_1000, 0x1000)]
    assert memory.code_frames == {0x40001, 0x40002}


def test_packed_state_is_plain_and_makes_the_same_contents() -> None:
    memory = PhysicalMemory()
    ram = memory.add_ram(0x4000_0000, 1 << 20)
    ram.view[0x2345] = 7
    packed = memory.pack_state(memory.keep_state())
    assert all(type(offset) is int and type(data) is bytes for offset, data in packed[0])
    ram.clear()
    memory.put_back_state(memory.unpack_state(packed))
    assert ram.view[0x2345] == 7
    assert sum(ram.view) == 7
