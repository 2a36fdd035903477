# SPDX-License-Identifier: GPL-2.0-or-later
"""As much of QEMU's monitor protocol as QEMU's own test library needs beside qtest.

Reference: QEMU 11's docs/interop/qmp-spec.rst. A client is greeted, and asks in lines of JSON.
There are `COMMANDS`; any other is answered with the error CommandNotFound.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from smmu_emu.machine import Machine
from smmu_emu.qtest_server import Ending

VERSION = {"qemu": {"major": 11, "minor": 1, "micro": 0}, "package": "smmu-emu"}
"""Whose devices these are; the package says that they are not QEMU's own."""


class Qmp:
    """One session; ``send`` takes lines."""

    def __init__(self, machine: Machine, send: Callable[[str], None]) -> None:
        self._machine = machine
        self._send = send
        self._ended = False
        self._answer({"QMP": {"version": VERSION, "capabilities": []}})

    def handle(self, line: str) -> None:
        """Answer one command.

        Raises: Ending if it was "quit".
        """
        if line.strip():
            self._answer(self._do(line))
        if self._ended:
            raise Ending

    def _do(self, line: str) -> dict[str, Any]:
        try:
            command = json.loads(line)
        except (ValueError, RecursionError):
            return _error("GenericError", "that is no JSON")
        if not isinstance(command, dict) or not isinstance(command.get("execute"), str):
            return _error("GenericError", "a command is an object with 'execute'")
        mark = {"id": command["id"]} if "id" in command else {}
        action = COMMANDS.get(command["execute"])
        if action is None:
            return _error("CommandNotFound", "The command has not been found") | mark
        self._ended = command["execute"] == "quit"
        return {"return": action(self._machine)} | mark

    def _answer(self, message: dict[str, Any]) -> None:
        self._send(json.dumps(message))


def _error(kind: str, text: str) -> dict[str, Any]:
    return {"error": {"class": kind, "desc": text}}


def _reset(machine: Machine) -> dict[str, Any]:
    machine.reset()
    return {}


def _nothing(machine: Machine) -> dict[str, Any]:
    return {}


_VIRT = {
    "name": "virt",
    "cpu-max": 1,
    "hotpluggable-cpus": False,
    "numa-mem-supported": False,
    "deprecated": False,
    "acpi": False,
}

COMMANDS: dict[str, Callable[[Machine], Any]] = {
    "qmp_capabilities": _nothing,
    "query-commands": lambda _: [{"name": name} for name in sorted(COMMANDS)],
    "query-machines": lambda _: [_VIRT],
    "query-status": lambda _: {"running": True, "status": "running"},
    "query-version": lambda _: VERSION,
    "quit": _nothing,
    "system_reset": _reset,
}
