# SPDX-License-Identifier: GPL-2.0-or-later
"""A campaign's results as one HTML page: outcomes, coverage, and the shortest ways to the worst.

The page works without a network. The shortest way to an outcome is the run with the fewest
instructions that came to it, with the command that does it again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from smmu_emu.campaign.fields import field_of
from smmu_emu.campaign.outcome import Class
from smmu_emu.campaign.store import Store
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.smmuv3.spec.registers import GERROR

WORST = (Class.BREACH, Class.CORRUPTION, Class.CRASH, Class.HANG)
_STYLE = """
:root { color-scheme: light dark; --line: #d5d8de; --dim: #667; }
@media (prefers-color-scheme: dark) { :root { --line: #33373f; --dim: #99a; } }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem; max-width: 90rem; }
table { border-collapse: collapse; margin: .6rem 0 1.4rem; }
th, td { border: 1px solid var(--line); padding: .25rem .6rem; text-align: left; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
td.isolation-breach, td.silent-corruption { background: #d0342c; color: #fff; }
td.guest-crash, td.hang { background: #e08a00; color: #000; }
td.detected { background: #2f6fb7; color: #fff; } td.masked { background: #3f9d62; color: #fff; }
td.invalid { background: #888; color: #fff; }
code { font: 12px ui-monospace, monospace; } .dim { color: var(--dim); }
"""

Row = Iterable[str]


def write_campaign_page(store: Store, path: Path) -> None:
    """Write the page of a file of results.

    Raises: CampaignError, OSError.
    """
    campaign = store.campaign
    done, planned = len(store.done()), len(campaign.numbers())
    title = escape(f"campaign {campaign.name}")
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>',
        f"<style>{_STYLE}</style><h1>{title}</h1>",
        f"<p>{done:,} of {planned:,} runs done; {campaign.total:,} are possible.</p>",
        "<h2>Outcomes</h2>",
        *_matrix(store),
        *_worst(store),
        *_coverage(store),
    ]
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _matrix(store: Store) -> Iterator[str]:
    heads = ["target", "fault", *(kind.value for kind in Class), "runs"]
    rows = []
    for (target, family), counts in store.matrix().items():
        cells = [f"<td>{escape(target)}</td><td>{escape(family)}</td>"]
        for kind in Class:
            count = counts.get(kind, 0)
            shade = f" {kind.value}" if count else ""
            cells.append(f'<td class="n{shade}">{count:,}</td>' if count else "<td></td>")
        cells.append(f'<td class="n">{sum(counts.values()):,}</td>')
        rows.append("".join(cells))
    yield _table(heads, rows)


def _worst(store: Store) -> Iterator[str]:
    """For each of the worst outcomes and each field or fault, the shortest run."""
    for kind in WORST:
        best: dict[tuple[str, str, str], tuple[int, int, str, str]] = {}
        counts: Counter[tuple[str, str, str]] = Counter()
        query = "number, target, family, fault, detail, instructions"
        for number, target, family, fault, detail, length in store.rows(
            query, "outcome = ?", kind.value
        ):
            key = (target, family, field_of(json.loads(fault)))
            counts[key] += 1
            if key not in best or length < best[key][0]:
                best[key] = (length, number, fault, detail)
        if not best:
            continue
        yield f"<h2>Shortest ways to {escape(kind.value)}</h2>"
        rows = [
            f"<td>{escape(target)}</td><td>{escape(family)}</td><td>{escape(field)}</td>"
            f'<td class="n">{counts[target, family, field]:,}</td><td class="n">{length:,}</td>'
            f"<td>{escape(detail)}</td><td><code>{escape(fault)}</code></td>"
            f"<td><code>smmu-emu campaign replay {escape(store.path.name)} {number}</code></td>"
            for (target, family, field), (length, number, fault, detail) in best.items()
        ]
        yield _table(
            ["target", "fault", "field", "runs", "instructions", "what", "plan", "again"], rows
        )


def _coverage(store: Store) -> Iterator[str]:
    """In how many runs what was reached."""
    events: Counter[str] = Counter()
    commands: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for one, other, why, active in store.rows("events, commands, reasons, errors"):
        events.update(json.loads(one).keys())
        commands.update(json.loads(other).keys())
        reasons.update(json.loads(why))
        errors.update(name for name, number in GERROR(active).fields().items() if number)
    yield "<h2>Coverage</h2><p>In how many runs each was reached.</p>"
    yield from _covered("event", events, [one.name for one in EventCode])
    yield from _covered("command", commands, [one.name for one in Opcode])
    yield from _covered("global error", errors, list(GERROR.FIELDS))
    yield from _covered("why a transaction was refused", reasons, [])


def _covered(what: str, counts: Counter[str], known: list[str]) -> Iterator[str]:
    rows = [
        f'<td>{escape(name)}</td><td class="n">{count:,}</td>'
        for name, count in counts.most_common()
    ]
    yield _table([what, "runs"], rows) if rows else f"<p>No {escape(what)}.</p>"
    missing = [name for name in known if name not in counts]
    if missing:
        yield f'<p class="dim">Not reached: {escape(", ".join(missing))}.</p>'


def _table(heads: Row, rows: Row) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
