# SPDX-License-Identifier: GPL-2.0-or-later
"""PSCI 1.1 for a machine of one core, over HVC and SMC alike.

Reference: Arm DEN 0022 (PSCI), DEN 0028 (SMCCC 1.1). Left out: power-down suspend (refused),
migration, statistics, and every other SMCCC service (NOT_SUPPORTED).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

SUCCESS, NOT_SUPPORTED, INVALID_PARAMETERS, ALREADY_ON = 0, -1, -2, -4

_SMC64 = 1 << 30
_AFFINITY_FIELDS = 0xFF_00FF_FFFF
_POWER_DOWN = 1 << 16
_VERSION_1_1 = 0x1_0001
_TRUSTED_OS_ABSENT = 2


class Effect(Enum):
    """What a call asks of the core beside its return value."""

    NONE = auto()
    IDLE = auto()
    POWER_OFF = auto()
    RESET = auto()


class Answer(NamedTuple):
    """X0 on return, as a signed number, and what else happens."""

    value: int
    effect: Effect = Effect.NONE


def call(function: int, argument: int, mpidr: int) -> Answer:
    """Answer the call with ``function`` in W0 and its first ``argument`` in X1."""
    function &= 0xFFFF_FFFF
    if not function & _SMC64:
        argument &= 0xFFFF_FFFF
    handler = _FUNCTIONS.get(function)
    return handler(argument, mpidr & _AFFINITY_FIELDS) if handler else Answer(NOT_SUPPORTED)


def _version(_argument: int, _self: int) -> Answer:
    return Answer(_VERSION_1_1)


def _cpu_suspend(power_state: int, _self: int) -> Answer:
    if power_state & _POWER_DOWN:
        return Answer(INVALID_PARAMETERS)
    return Answer(SUCCESS, Effect.IDLE)


def _power_off(_argument: int, _self: int) -> Answer:
    return Answer(SUCCESS, Effect.POWER_OFF)


def _reset(_argument: int, _self: int) -> Answer:
    return Answer(SUCCESS, Effect.RESET)


def _cpu_on(target: int, this: int) -> Answer:
    return Answer(ALREADY_ON if target == this else INVALID_PARAMETERS)


def _affinity_info(target: int, this: int) -> Answer:
    return Answer(SUCCESS if target == this else INVALID_PARAMETERS)


def _migrate_info_type(_argument: int, _self: int) -> Answer:
    return Answer(_TRUSTED_OS_ABSENT)


def _features(function: int, _self: int) -> Answer:
    return Answer(SUCCESS if function & 0xFFFF_FFFF in _FUNCTIONS else NOT_SUPPORTED)


_Handler = Callable[[int, int], Answer]
_FUNCTIONS: dict[int, _Handler] = {
    0x8400_0000: _version,  # PSCI_VERSION
    0x8400_0001: _cpu_suspend,
    0x8400_0002: _power_off,  # CPU_OFF, of the last core that is on
    0x8400_0003: _cpu_on,
    0x8400_0004: _affinity_info,
    0x8400_0006: _migrate_info_type,
    0x8400_0008: _power_off,  # SYSTEM_OFF
    0x8400_0009: _reset,  # SYSTEM_RESET
    0x8400_000A: _features,
    0x8400_0012: _reset,  # SYSTEM_RESET2
    0x8000_0000: _version,  # SMCCC_VERSION, 1.1 too
    0x8000_0001: _features,  # SMCCC_ARCH_FEATURES
    0xC400_0001: _cpu_suspend,
    0xC400_0003: _cpu_on,
    0xC400_0004: _affinity_info,
    0xC400_0012: _reset,
}
