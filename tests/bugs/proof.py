# SPDX-License-Identifier: GPL-2.0-or-later
"""What finds each seeded bug: the checker alone, with provenance, or under a policy.

Every bug is tried in that order until there is an error or a warning. ``python -m tests.bugs``
writes docs/seeded_bugs.md. What QEMU 11.1 does with the same image is recorded in qemu.json: exit
statuses, 0 where the bug passes unnoticed; `python -m tests.bugs --qemu COMMAND` records it anew.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from smmu_emu.check import Checker
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.trace.provenance import Provenance, scout
from smmu_emu.trace.symbols import SymbolTable
from smmu_emu.trace.tracer import Tracer
from tests.bugs.python_driver import BUGS, Life, SeededBug, make_machine

IMAGE = Path(__file__).resolve().parents[2] / "firmware" / "images" / "bugs.elf"
RECORDED = Path(__file__).with_name("qemu.json")
LIMIT = 3_000_000
IDS = {"irq-cfg-live": "full", "split-live": "mmu-600"}
"""Bugs that need messages, or an SMMU without BBML 2: on QEMU's they are none."""
BESIDE_CHECK = "check"
WITH_PROVENANCE = "check, provenance"
POLICIES = ("late-commands,seed=1", "prefetch,table-pointers,late-effects,seed=1")


class Proof(NamedTuple):
    """What found a bug: the names of findings, and what had to be asked for."""

    name: str
    what: str
    how: str
    findings: tuple[str, ...]
    noticed: bool
    """Whether the driver itself came to notice that something was wrong."""
    on_qemu: int | None
    """Exit status there; None where it was not tried."""

    @property
    def caught(self) -> bool:
        """Whether anything found it."""
        return bool(self.findings)


def c_bugs() -> dict[str, str]:
    """Names of the image's bugs, and what each does."""
    with Machine.virt(command_line="bugs.elf list") as machine:
        machine.load(IMAGE)
        machine.run(LIMIT)
        lines = machine.output.decode().splitlines()[1:]
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def check_image(
    name: str, policy: str = "", *, provenance: bool = False
) -> tuple[tuple[str, ...], int]:
    """Findings, without advice, of a run of the image with a bug; and its exit status."""
    ids = PRESETS[IDS.get(name, "qemu")]
    with Machine.virt(command_line=f"bugs.elf {name}", smmu_ids=ids) as machine:
        if policy:
            machine.use_policy(policy)
        machine.load(IMAGE)
        where = scout(machine, lambda: machine.run(LIMIT)) if provenance else None
        tracer = Tracer(machine, symbols=SymbolTable(IMAGE), python_lines=False)
        with tracer, Checker(machine, tracer=tracer) as checker:
            watched = Provenance(machine, where, tracer=tracer) if provenance else nullcontext()
            with watched:
                status = machine.run(LIMIT).status
            checker.finish()
            return _names(checker), status


def _names(checker: Checker) -> tuple[str, ...]:
    return tuple(sorted({one.name for one in checker.findings if one.severity != "advice"}))


def prove_image(name: str, what: str, on_qemu: int | None) -> Proof:
    """Try what finds a bug of the C driver."""
    findings, status = check_image(name)
    how = BESIDE_CHECK
    if not findings:
        how = WITH_PROVENANCE
        findings, _ = check_image(name, provenance=True)
    for policy in POLICIES:
        if findings:
            break
        how = f"check, policy {policy}"
        findings, _ = check_image(name, policy)
    return Proof(name, what, how if findings else "", findings, status != 0, on_qemu)


def check_life(bug: SeededBug | None) -> tuple[tuple[str, ...], bool]:
    """Findings, without advice, of the Python driver's life; and whether it went well."""
    with make_machine() as machine, Checker(machine) as checker:
        try:
            with bug.patch() if bug is not None else nullcontext():
                life = Life(machine)
                checker.follow(life.driver)
                well = life.run()
        except Exception:  # whatever a driver that is wrong stumbles over
            well = False
        checker.finish()
        return _names(checker), well


def prove_life(bug: SeededBug) -> Proof:
    """Try what finds a bug of the Python driver."""
    findings, well = check_life(bug)
    how = BESIDE_CHECK if findings else ""
    return Proof(bug.name, bug.what, how, findings, not well, None)


def all_proofs() -> tuple[list[Proof], list[Proof]]:
    """Of the C driver, and of the Python driver."""
    recorded: dict[str, int] = json.loads(RECORDED.read_text())
    image = [prove_image(name, what, recorded.get(name)) for name, what in c_bugs().items()]
    return image, [prove_life(bug) for bug in BUGS]


def tables(image: list[Proof], life: list[Proof]) -> Iterator[str]:
    """Both tables, as Markdown."""
    caught = sum(one.caught for one in image + life)
    yield f"{caught} of {len(image) + len(life)} are caught; the correct drivers have no finding."
    unnoticed = sum(one.on_qemu == 0 for one in image)
    yield f"{unnoticed} of the C driver's {len(image)} pass unnoticed on QEMU 11.1. Its SMMU has"
    yield "BBML 2, which makes split-live legal, and no messages, which irq-cfg-live is about."
    yield ""
    yield "## The C driver"
    yield ""
    yield "| bug | what the driver does | found by | findings | the image notices | QEMU |"
    yield "|---|---|---|---|---|---|"
    for one in image:
        qemu = "passes" if one.on_qemu == 0 else f"status {one.on_qemu}"
        cells = (one.name, one.what, one.how or "nothing", ", ".join(one.findings))
        yield f"| {' | '.join(cells)} | {'yes' if one.noticed else 'no'} | {qemu} |"
    yield ""
    yield "## The Python driver"
    yield ""
    yield "| bug | what the driver does | found by | findings | the driver notices |"
    yield "|---|---|---|---|---|"
    for one in life:
        cells = (one.name, one.what, one.how or "nothing", ", ".join(one.findings))
        yield f"| {' | '.join(cells)} | {'yes' if one.noticed else 'no'} |"


def record_qemu(command: list[str]) -> None:
    """Run every bug on a QEMU, and write down the exit statuses."""
    statuses = {}
    for name in c_bugs():
        words = [*command, "-kernel", str(IMAGE), "-append", name]
        try:
            done = subprocess.run(words, capture_output=True, check=False, timeout=30)
            statuses[name] = done.returncode
        except subprocess.TimeoutExpired:
            statuses[name] = 124
    RECORDED.write_text(json.dumps(statuses, indent=1) + "\n")
