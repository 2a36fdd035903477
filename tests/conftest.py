# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles for hypothesis: ``ci`` (the default) is deterministic and quick, ``dev`` tries other
examples each time, ``long`` searches.

The environment variable HYPOTHESIS_PROFILE picks one. A property's own number of examples is
scaled by `tests.strategies.examples`.
"""

from __future__ import annotations

import gc
import os
from itertools import count

import pytest
from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "ci", derandomize=True, deadline=None, database=None, suppress_health_check=_SLOW
)
settings.register_profile("dev", deadline=None, print_blob=True, suppress_health_check=_SLOW)
settings.register_profile("long", deadline=None, print_blob=True, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_GARBAGE_EVERY = 100
_tests = count(1)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Machines that tests left behind hold gigabytes of address space, with which no process can
    be forked. `main` freezes what it finds, so that must be undone too."""
    if next(_tests) % _GARBAGE_EVERY == 0:
        gc.unfreeze()
        gc.enable()
        gc.collect()
