# SPDX-License-Identifier: GPL-2.0-or-later
"""The exhaustive isolation campaign, and a second opinion on every breach that it finds.

``python -m tests.scenarios.isolation_campaign`` runs `examples/isolation.toml` and prints the table
of docs/campaigns.md. A breach is permitted where the damaged structures themselves permit it, as
read by `tests.table_reader`, which shares no module with the emulator; what they do not permit is a
defect of the emulator.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from smmu_emu.campaign.engine import carry_out, local_workers
from smmu_emu.campaign.fields import field_of
from smmu_emu.campaign.outcome import Class
from smmu_emu.campaign.runner import Prepared, plan_for, running
from smmu_emu.campaign.spec import Campaign, Run, load_campaign
from smmu_emu.campaign.store import Store
from smmu_emu.inject import Injector
from smmu_emu.inject.isolation import Breach, Isolation
from smmu_emu.machine import Machine
from tests.table_reader import Access, TableReader

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "isolation.toml"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "campaigns.md"
MARK = "<!-- table of the isolation campaign -->"
STREAMS = (0x08, 0x10)


class Opinion(NamedTuple):
    """What the second reader says of one breach."""

    breach: Breach
    permitted: bool
    why: str


def opinions(prepared: Prepared, run: Run) -> list[Opinion]:
    """Do a run again, and ask the reader about every breach in it."""
    found: list[Breach] = []

    def attach(machine: Machine, injector: Injector) -> Callable[[], None]:
        isolation = Isolation(machine)
        isolation.mappings.allow(*prepared.allow)
        isolation.listeners.append(found.append)
        isolation.install()
        return isolation.remove

    prepared.run(plan_for(run), attach)
    machine = prepared.machine  # it keeps its damage until the next run
    reader = TableReader(lambda name: machine.smmu.registers.values[name], machine.memory.read_u64)
    return [_opinion(reader, breach) for breach in found]


def _opinion(reader: TableReader, breach: Breach) -> Opinion:
    access = Access(breach.write, False, False)
    if reader.lands(breach.stream, breach.iova, access) == breach.pa:
        return Opinion(breach, True, "its own structures lead there")
    for other in STREAMS:
        if other == breach.stream or reader.lands(other, breach.iova, access) != breach.pa:
            continue
        if _asid(reader, other) == _asid(reader, breach.stream):
            return Opinion(breach, True, "both streams have the same ASID")
        if _is_global(reader, other, breach.iova):
            return Opinion(breach, True, "the other stream's page is global (nG is 0)")
    return Opinion(breach, False, "no structure leads there")


def _cd(reader: TableReader, stream: int) -> tuple[dict[str, int], dict[str, int]] | None:
    ste = reader._ste(stream)
    cd = None if ste is None else reader._cd(ste, 0)
    return None if ste is None or cd is None else (ste, cd)


def _asid(reader: TableReader, stream: int) -> int | None:
    found = _cd(reader, stream)
    return None if found is None else found[1]["ASID"]


def _is_global(reader: TableReader, stream: int, iova: int) -> bool:
    """Whether the leaf for an address is not marked as non-global. Spec: DDI 0487 D8.3, nG."""
    found = _cd(reader, stream)
    if found is None:
        return False
    cd = found[1]
    leaf = reader._walk(
        reader.read64, cd["TTB0"], 12, 64 - cd["T0SZ"], 4 - -(-(52 - cd["T0SZ"]) // 9), iova, 48
    )
    return leaf is not None and not leaf.descriptor >> 11 & 1


def outcome_table(store: Store) -> Iterator[str]:
    """Outcomes by kind of fault, and the fields whose damage breaches, as Markdown."""
    kinds = [kind for kind in Class if kind is not Class.INVALID]
    yield "| fault | runs | " + " | ".join(kind.value for kind in kinds) + " |"
    yield "|---|---|" + "---|" * len(kinds)
    for (_, family), counts in store.matrix().items():
        cells = " | ".join(f"{counts.get(kind, 0):,}" for kind in kinds)
        yield f"| {family} | {sum(counts.values()):,} | {cells} |"
    yield ""
    yield "Bits whose damage led to a breach, by field:"
    yield ""
    fields: Counter[str] = Counter()
    for (number,) in store.rows("number", "outcome = ?", Class.BREACH.value):
        fields[field_of(store.campaign.run(number).fault)] += 1
    yield "| field | bits |"
    yield "|---|---|"
    for name, count in sorted(fields.items()):
        yield f"| {name} | {count} |"


def run_all(folder: Path, workers: int = 1) -> tuple[Campaign, Store]:
    """The whole campaign into a new file."""
    campaign = load_campaign(EXAMPLE)
    store = Store(folder / "isolation.sqlite", campaign)
    carry_out(campaign, store, local_workers(workers), workers)
    return campaign, store


def defects(campaign: Campaign, store: Store) -> list[Opinion]:
    """Breaches that no structure permits."""
    found = []
    with running(campaign) as runner:
        for (number,) in store.rows("number", "outcome = ?", Class.BREACH.value):
            run = campaign.run(number)
            found += [one for one in opinions(runner.prepared(run), run) if not one.permitted]
    return found


def main() -> int:
    """Run it, write the table into the docs, and complain of defects."""
    with tempfile.TemporaryDirectory() as folder:
        campaign, store = run_all(Path(folder), 2)
        lines = list(outcome_table(store))
        wrong = defects(campaign, store)
        store.close()
    before, _, rest = PAGE.read_text().partition(MARK)
    _, _, after = rest.partition(MARK)
    PAGE.write_text(before + MARK + "\n" + "\n".join(lines) + "\n" + MARK + after)
    print("\n".join(lines))
    for one in wrong:
        print(f"DEFECT: {one.breach}: {one.why}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
