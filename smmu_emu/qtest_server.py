# SPDX-License-Identifier: GPL-2.0-or-later
"""Carries the lines of qtest, and of a monitor beside it, between a machine and its clients.

A session ends when its qtest client goes away, in whatever state; the monitor's client may leave
earlier.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from smmu_emu.qtest import LONGEST_LINE

CHUNK = 1 << 16
TOO_LONG = "(a line that is too long)"
"""What stands for such a line: no session knows a command of that name."""


class Session(Protocol):
    """Whoever answers the lines of a client."""

    def handle(self, line: str) -> None: ...


class Ending(Exception):  # noqa: N818 - nothing is wrong
    """Raised by a session that wants the whole server to end."""


class Channel:
    """Bytes to and from one client: two file descriptors, or one that is a socket's.

    `send` queues a line; nothing is lost as long as `flush` is called before waiting.
    """

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.open = True
        self._target = target
        self._queued: list[str] = []
        self._rest = bytearray()
        self._too_long = False

    def send(self, line: str) -> None:
        """Queue a line for the client."""
        self._queued.append(line)

    def flush(self) -> None:
        """Send what was queued; a client that is gone closes the channel."""
        data = memoryview("".join(f"{line}\n" for line in self._queued).encode())
        self._queued.clear()
        try:
            while data:
                data = data[os.write(self._target, data) :]
        except OSError:
            self.open = False

    def receive(self) -> list[str]:
        """Wait for bytes, and take the lines that are complete with them; none at the end."""
        try:
            data = os.read(self.source, CHUNK)
        except OSError:
            data = b""
        if not data:
            self.open = False
            return []
        self._rest += data
        *lines, self._rest = self._rest.split(b"\n") if b"\n" in data else [self._rest]
        kept = [self._bounded(line) for line in lines]
        if len(self._rest) > LONGEST_LINE:  # it goes on: forget it, and what will come of it
            self._rest.clear()
            self._too_long = True
        return kept

    def _bounded(self, line: bytearray) -> str:
        """A line as text; of one that is longer than any command, only that it was too long."""
        if self._too_long or len(line) > LONGEST_LINE:
            self._too_long = False
            return TOO_LONG
        return line.decode("ascii", "backslashreplace")


class Client(NamedTuple):
    """A channel and who answers on it; the server ends with an ``essential`` one."""

    channel: Channel
    session: Session
    essential: bool = True


def serve(clients: Iterable[Client]) -> None:
    """Answer until an essential client has gone, or a session wants to end."""
    selector = selectors.DefaultSelector()
    for client in clients:
        client.channel.flush()
        try:
            selector.register(client.channel.source, selectors.EVENT_READ, client)
        except PermissionError:  # a plain file, as standard input may be one: always readable
            _serve_file(client)
            return
    try:
        while True:
            for key, _ in selector.select():
                _answer(key.data)
                if not key.data.channel.open:
                    if key.data.essential:
                        return
                    selector.unregister(key.fileobj)
    except Ending:
        return
    finally:
        selector.close()


def _serve_file(client: Client) -> None:
    while client.channel.open:
        _answer(client)


def _answer(client: Client) -> None:
    """Answer everything that has come; what was done last may end the server, once it is sent."""
    channel, session = client.channel, client.session
    try:
        for line in channel.receive():
            session.handle(line)
    finally:
        channel.flush()


def connect(path: str) -> socket.socket:
    """A connection to the socket that a client listens on.

    Raises: OSError with the path.
    """
    return _named(path, lambda link: link.connect(path))


def accept(path: str, ready: Callable[[], None] = lambda: None) -> socket.socket:
    """A connection from the first client of a socket made at ``path`` for it, and removed again.

    ``ready`` is called once clients may come. Raises: OSError with the path.
    """
    listener = _named(path, lambda link: _bind(link, path))
    try:
        with listener:
            listener.listen(1)
            ready()
            return listener.accept()[0]
    finally:
        os.unlink(path)


def _bind(listener: socket.socket, path: str) -> None:
    """Bind; a socket that nobody listens on any more is replaced."""
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)
    listener.bind(path)


def _named(path: str, act: Callable[[socket.socket], None]) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    try:
        act(link)
    except OSError as error:  # these do not say where
        link.close()
        raise OSError(error.errno, error.strerror or str(error), path) from error
    return link
