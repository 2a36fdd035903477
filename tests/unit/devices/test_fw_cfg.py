# SPDX-License-Identifier: GPL-2.0-or-later
"""fw_cfg: items, byte by byte."""

from __future__ import annotations

from smmu_emu.devices.fw_cfg import FwCfg


def item(fw_cfg: FwCfg, key: int, size: int) -> bytes:
    """Select with a big-endian key, and read bytes."""
    fw_cfg.write(8, 2, int.from_bytes(key.to_bytes(2, "big"), "little"))
    return bytes(fw_cfg.read(0, 1) for _ in range(size))


def test_signature_and_interface() -> None:
    fw_cfg = FwCfg()
    assert item(fw_cfg, 0x0000, 6) == b"QEMU\0\0"
    assert item(fw_cfg, 0x0001, 4) == b"\x01\0\0\0"


def test_one_core_and_no_files() -> None:
    fw_cfg = FwCfg()
    assert item(fw_cfg, 0x0005, 2) == b"\x01\0"
    assert item(fw_cfg, 0x0019, 4) == bytes(4)
    assert item(fw_cfg, 0x4000, 2) == bytes(2)


def test_wide_reads_keep_the_order_of_bytes() -> None:
    fw_cfg = FwCfg()
    assert fw_cfg.read(0, 4).to_bytes(4, "little") == b"QEMU"
    fw_cfg.reset()
    assert fw_cfg.read(0, 2).to_bytes(2, "little") == b"QE"
    assert fw_cfg.read(0, 8).to_bytes(8, "little") == b"MU" + bytes(6)


def test_other_registers_are_told() -> None:
    told: list[tuple[int, str]] = []
    fw_cfg = FwCfg(lambda offset, kind: told.append((offset, kind)))
    assert fw_cfg.read(0x10, 8) == 0
    fw_cfg.write(0x10, 8, 1)
    fw_cfg.write(8, 4, 1)
    assert told == [
        *((0x10, "read of 8 bytes"), (0x10, "write of 8 bytes")),
        (8, "write of 4 bytes"),
    ]
