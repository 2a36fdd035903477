# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk images: which files are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from smmu_emu.devices.virtio.disk import Disk, DiskMode
from smmu_emu.errors import ConfigurationError


@pytest.mark.parametrize("size", [0, 1, 511, 513])
def test_file_without_whole_sectors_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "odd.img"
    path.write_bytes(bytes(size))
    with pytest.raises(ConfigurationError, match=f"{size} bytes are no whole number of 512"):
        Disk(path)


def test_absent_file_and_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.img: No such file"):
        Disk(tmp_path / "absent.img")
    with pytest.raises(ConfigurationError, match="directory"):
        Disk(tmp_path)
    with pytest.raises(ConfigurationError, match="neither a file nor a block device"):
        Disk("/dev/null", DiskMode.READ_ONLY)


@pytest.mark.parametrize(
    ("first", "second", "agree"),
    [
        (DiskMode.READ_WRITE, DiskMode.READ_WRITE, False),
        (DiskMode.READ_WRITE, DiskMode.READ_ONLY, False),
        (DiskMode.SNAPSHOT, DiskMode.READ_WRITE, False),
        (DiskMode.READ_ONLY, DiskMode.SNAPSHOT, True),
    ],
)
def test_file_that_somebody_writes_is_nobody_elses(
    tmp_path: Path, first: DiskMode, second: DiskMode, agree: bool
) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1024))
    disk = Disk(path, first)
    if agree:
        Disk(path, second).close()
    else:
        with pytest.raises(ConfigurationError, match="in use"):
            Disk(path, second)
    disk.close()
    Disk(path, second).close()


def test_sectors_are_counted_and_ranges_judged(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1024))
    disk = Disk(path)
    assert disk.sectors == 2
    assert disk.holds(0, 1024)
    assert disk.holds(1, 512)
    assert not disk.holds(2, 512)
    assert not disk.holds(0, 100)
