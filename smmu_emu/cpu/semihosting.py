# SPDX-License-Identifier: GPL-2.0-or-later
"""Semihosting: AArch64's HLT #0xF000 with an operation in W0 and a parameter in X1, and AArch32's
SVC 0x123456 (A32), SVC 0xAB (T32) and HLT with R0 and R1.

A console (":tt") that writes to a callback and reads nothing, exit, virtual time, the command line,
and ":semihosting-features". The host's files, commands and wall clock stay out of reach: runs must
repeat, and images are not trusted. Operations refused so answer as the specification says for a
failure, and SYS_ERRNO tells why.

Reference: Arm, Semihosting for AArch32 and AArch64 (release 2024Q3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from smmu_emu.clock import Clock
from smmu_emu.cpu.virtual import VirtualMemory

HLT_SEMIHOSTING = 0xD45E_0000
TICKS_PER_SECOND = 1_000_000_000
APPLICATION_EXIT = 0x2_0026

_EBADF, _ENOENT, _ENOSYS, _EFAULT, _EINVAL = 9, 2, 38, 14, 22
_CONSOLE_HANDLES = (1, 2, 3)
"""What opening ":tt" for reading, writing and appending gives."""
_FEATURES_HANDLE = 4
_FEATURES = b"SHFB\x03"
"""Magic, and both features of byte 0: SYS_EXIT_EXTENDED, and stdout apart from stderr."""
_LONGEST_TEXT = 1 << 16


class Exit(NamedTuple):
    """The guest asked to end, with this status."""

    status: int
    reason: str


class _BadAddressError(Exception):
    """A parameter block or buffer is not in RAM."""


class Semihosting:
    """Answers the calls of one guest."""

    wiring = ("_memory", "_clock", "_command_line", "_operations", "_word")
    unsaved = ("_console",)

    def __init__(
        self,
        memory: VirtualMemory,
        clock: Clock,
        console: Callable[[bytes], None],
        command_line: str,
        *,
        word: int = 8,
    ) -> None:
        self._word = word
        self._memory = memory
        self._clock = clock
        self._console = console
        self._command_line = command_line.encode() + b"\0"
        self._operations: dict[int, Callable[[int], int | Exit]] = {
            0x01: self._open,
            0x02: self._close,
            0x03: self._write_char,
            0x04: self._write_text,
            0x05: self._write,
            0x06: self._read,
            0x07: lambda _: -1,  # SYS_READC: there is no input
            0x08: self._is_error,
            0x09: self._is_tty,
            0x0A: self._seek,
            0x0C: self._length,
            0x10: lambda _: self._clock.now // 10_000_000,  # SYS_CLOCK, centiseconds
            0x11: lambda _: self._clock.now // 1_000_000_000,  # SYS_TIME, seconds since start
            0x13: lambda _: self._errno,
            0x15: self._get_command_line,
            0x16: self._heap_info,
            0x18: self._exit if word == 8 else self._exit_without_status,
            0x20: self._exit,
            0x30: self._elapsed,
            0x31: lambda _: TICKS_PER_SECOND,
        }
        self.reset()

    def reset(self) -> None:
        """No error yet, nothing read."""
        self._errno = 0
        self._position = 0

    def call(self, operation: int, parameter: int) -> int | Exit:
        """What goes into X0 (signed), or the wish to end."""
        handler = self._operations.get(operation & 0xFFFF_FFFF)
        if handler is None:
            return self._fail(_ENOSYS)
        try:
            return handler(parameter)
        except _BadAddressError:
            return self._fail(_EFAULT)

    # -- access to the guest

    def _bytes(self, va: int, size: int) -> bytes:
        data = self._memory.read(va, size) if size else b""
        if data is None:
            raise _BadAddressError
        return data

    def _fields(self, block: int, count: int) -> list[int]:
        word = self._word
        data = self._bytes(block, word * count)
        return [int.from_bytes(data[i : i + word], "little") for i in range(0, word * count, word)]

    def _store(self, va: int, data: bytes) -> None:
        if data and not self._memory.write(va, data):
            raise _BadAddressError

    def _fail(self, errno: int, answer: int = -1) -> int:
        self._errno = errno
        return answer

    # -- operations, in the order of their numbers

    def _open(self, block: int) -> int:
        name_at, mode, length = self._fields(block, 3)
        name = self._bytes(name_at, min(length, 256))
        if name == b":tt" and mode < 12:
            return _CONSOLE_HANDLES[mode // 4]
        if name == b":semihosting-features" and mode < 2:
            self._position = 0
            return _FEATURES_HANDLE
        return self._fail(_ENOENT)

    def _handle(self, block: int) -> int:
        return self._fields(block, 1)[0]

    def _known(self, handle: int) -> bool:
        return handle in _CONSOLE_HANDLES or handle == _FEATURES_HANDLE

    def _close(self, block: int) -> int:
        return 0 if self._known(self._handle(block)) else self._fail(_EBADF)

    def _write_char(self, at: int) -> int:
        self._console(self._bytes(at, 1))
        return 0

    def _write_text(self, at: int) -> int:
        text = bytearray()
        while len(text) < _LONGEST_TEXT:
            room = 64 - (at + len(text)) % 64
            chunk = self._bytes(at + len(text), room)
            end = chunk.find(0)
            if end >= 0:
                text += chunk[:end]
                break
            text += chunk
        if text:
            self._console(bytes(text))
        return 0

    def _write(self, block: int) -> int:
        """The number of bytes that were not written."""
        handle, at, length = self._fields(block, 3)
        if handle not in _CONSOLE_HANDLES:
            return self._fail(_EBADF, length)
        text = self._memory.read(at, length) if length <= 1 << 32 else None
        if text is None:
            return self._fail(_EFAULT, length)
        if text:
            self._console(text)
        return 0

    def _read(self, block: int) -> int:
        """The number of bytes that were not read; all of them is end of file."""
        handle, at, length = self._fields(block, 3)
        if handle != _FEATURES_HANDLE:
            return length if handle in _CONSOLE_HANDLES else self._fail(_EBADF, length)
        data = _FEATURES[self._position : self._position + length]
        self._store(at, data)
        self._position += len(data)
        return length - len(data)

    def _is_error(self, block: int) -> int:
        return int(bool(self._handle(block) >> 8 * self._word - 1))

    def _is_tty(self, block: int) -> int:
        handle = self._handle(block)
        if not self._known(handle):
            return self._fail(_EBADF)
        return int(handle in _CONSOLE_HANDLES)

    def _seek(self, block: int) -> int:
        handle, position = self._fields(block, 2)
        if handle != _FEATURES_HANDLE or position > len(_FEATURES):
            return self._fail(_EINVAL if self._known(handle) else _EBADF)
        self._position = position
        return 0

    def _length(self, block: int) -> int:
        handle = self._handle(block)
        if handle == _FEATURES_HANDLE:
            return len(_FEATURES)
        return self._fail(_EINVAL if self._known(handle) else _EBADF)

    def _get_command_line(self, block: int) -> int:
        at, room = self._fields(block, 2)
        if room < len(self._command_line):
            return self._fail(_EINVAL)
        self._store(at, self._command_line)
        length = len(self._command_line) - 1
        self._store(block + self._word, length.to_bytes(self._word, "little"))
        return 0

    def _heap_info(self, block: int) -> int:
        """All zero: no opinion on where heap and stack are."""
        self._store(self._handle(block), bytes(4 * self._word))
        return 0

    def _exit(self, block: int) -> Exit:
        reason, subcode = self._fields(block, 2)
        if reason == APPLICATION_EXIT:
            return Exit(subcode, "the guest exited")
        return Exit(1, f"the guest stopped with semihosting reason {reason:#x}")

    def _exit_without_status(self, reason: int) -> Exit:
        """SYS_EXIT of AArch32, whose parameter is the reason itself."""
        if reason == APPLICATION_EXIT:
            return Exit(0, "the guest exited")
        return Exit(1, f"the guest stopped with semihosting reason {reason:#x}")

    def _elapsed(self, block: int) -> int:
        self._store(block, self._clock.now.to_bytes(8, "little"))
        return 0
