# SPDX-License-Identifier: GPL-2.0-or-later
"""A bound for what must not hang: hostile input is a failure after some seconds, not a lost run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class _OutOfTimeError(BaseException):
    """Nobody who guards against exceptions in general catches this one."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails the test if the block takes longer. For the main thread, once at a time."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise _OutOfTimeError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _OutOfTimeError:
        raise AssertionError(f"took more than {seconds} seconds") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
