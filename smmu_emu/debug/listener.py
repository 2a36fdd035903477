# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a debugger comes in: a TCP port of this computer, or a Unix socket."""

from __future__ import annotations

import os
import select
import socket
import stat

from smmu_emu.errors import ConfigurationError

_LOCAL = "127.0.0.1"


class Listener:
    """Listens at ``address``: a port number (0: any that is free), or a path.

    Nobody else's computer reaches the port: a debugger may do everything.

    Raises: ConfigurationError if that cannot be.
    """

    def __init__(self, address: str) -> None:
        self._path: str | None = None
        try:
            self._socket = self._at_port(address) if address.isdecimal() else self._at_path(address)
        except OSError as error:
            why = error.strerror or str(error)
            raise ConfigurationError(f"--gdb {address}: cannot listen there: {why}") from error

    @property
    def where(self) -> str:
        """What GDB's ``target remote`` takes."""
        if self._path is not None:
            return self._path
        return f"{_LOCAL}:{self._socket.getsockname()[1]}"

    def accept(self, timeout: float) -> socket.socket | None:
        """Who knocks within ``timeout`` seconds, if anybody does."""
        if not select.select([self._socket], [], [], timeout)[0]:
            return None
        try:
            client, _ = self._socket.accept()
        except OSError:  # gone again
            return None
        if self._path is None:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
        if self._path is not None and os.path.exists(self._path):
            os.unlink(self._path)

    def _at_port(self, address: str) -> socket.socket:
        port = int(address)
        if port > 0xFFFF:
            raise ConfigurationError(f"--gdb {address}: ports end at 65535")
        return _listening(socket.socket(socket.AF_INET), (_LOCAL, port))

    def _at_path(self, address: str) -> socket.socket:
        if _is_abandoned(address):
            os.unlink(address)
        listening = _listening(socket.socket(socket.AF_UNIX), address)
        self._path = address
        return listening


def _listening(sock: socket.socket, address: str | tuple[str, int]) -> socket.socket:
    try:
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1)
    except OSError:
        sock.close()
        raise
    return sock


def _is_abandoned(path: str) -> bool:
    """Whether a socket is left there that nobody listens to any more."""
    if not os.path.exists(path) or not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False
