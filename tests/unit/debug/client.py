# SPDX-License-Identifier: GPL-2.0-or-later
"""The other end of a debugger's connection, and a machine to debug."""

from __future__ import annotations

import re
import socket

from smmu_emu import Machine

AT = 0x4010_0000
NOP = 0xD503_201F
ADD_X1 = 0x9100_0421
"""add x1, x1, #1"""
STORE_X1 = 0xF900_0041
"""str x1, [x2]"""
BACK = 0x17FF_FFFE
"""b .-8"""
POWER_OFF = (0xD280_0100, 0xF2B0_8000, 0xD400_0002)
"""movz x0, #8; movk x0, #0x8400, lsl #16; hvc #0: PSCI SYSTEM_OFF"""


def machine_with(*words: int) -> Machine:
    """A machine that is about to execute ``words`` at AT."""
    machine = Machine.virt(ram=64 << 20)
    machine.load(b"".join(word.to_bytes(4, "little") for word in words), load_address=AT)
    return machine


def framed(*packets: bytes) -> bytes:
    """Packets as they go over the wire."""
    return b"".join(b"$%s#%02x" % (packet, sum(packet) & 0xFF) for packet in packets)


def answers(wire: bytes) -> list[bytes]:
    """The packets in what a server sent; checksums are checked."""
    found = re.findall(rb"\$([^#]*)#([0-9a-f]{2})", wire)
    assert all(int(check, 16) == sum(data) & 0xFF for data, check in found)
    return [data for data, _ in found]


def received(client: socket.socket) -> bytes:
    """All that is there to be read now."""
    client.setblocking(False)
    wire = b""
    try:
        while data := client.recv(1 << 16):
            wire += data
    except BlockingIOError:
        pass
    finally:
        client.setblocking(True)
    return wire
