# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of all scenarios in this folder, made from the tests themselves.

``python -m tests.scenarios.faults`` writes it into docs/fault_catalogue.md, and the list of sites
into docs/fault_injection.md.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from smmu_emu.inject.sites import SITES

DOCS = Path(__file__).resolve().parents[3] / "docs"
_BEGIN, _END = "<!-- made by python -m tests.scenarios.faults -->\n", "<!-- end -->\n"

_Test = TypeVar("_Test", bound=Callable[..., None])


class Scenario(NamedTuple):
    """One test: where, what, and the promise that it asserts, with its section."""

    name: str
    site: str
    effect: str
    promise: str
    section: str
    module: str


def promises(promise: str, section: str, *, site: str, effect: str) -> Callable[[_Test], _Test]:
    """What a test asserts, in a sentence, and where the architecture says so.

    ``section`` is of IHI 0070; "none" where it promises nothing.
    """

    def mark(test: _Test) -> _Test:
        name = test.__name__.removeprefix("test_").replace("_", " ")
        module = test.__module__.rpartition(".")[2]
        test.scenario = Scenario(name, site, effect, promise, section, module)  # type: ignore[attr-defined]
        return test

    return mark


def scenarios() -> list[Scenario]:
    """All of them, file by file in the order of writing."""
    found: list[Scenario] = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module: Any = import_module(f"tests.scenarios.faults.{path.stem}")
        found += [one.scenario for one in vars(module).values() if hasattr(one, "scenario")]
    return found


def table() -> str:
    """The table of docs/fault_catalogue.md."""
    rows = scenarios()
    lines = [
        f"{len(rows)} scenarios.",
        "",
        "| scenario | site | effect | what holds | section |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.name} | {one.site} | {one.effect} | {one.promise} | {one.section} |"
        for one in rows
    ]
    return "\n".join(lines) + "\n"


def sites() -> str:
    """The table of sites in docs/fault_injection.md."""
    lines = ["| site | a fault of it strikes when | effects | aimed by |", "|---|---|---|---|"]
    for site in SITES.values():
        effects = ", ".join(site.effects)
        aims = ", ".join(name for name in site.filters if name not in ("pc", "time"))
        lines.append(f"| `{site.name}` | {site.what} | {effects} | {aims or '`target`'} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """The pages with their tables as they have to be."""
    made = {"fault_catalogue.md": table(), "fault_injection.md": sites()}
    return {DOCS / name: _with(DOCS / name, content) for name, content in made.items()}


def _with(path: Path, content: str) -> str:
    head, rest = path.read_text().split(_BEGIN)
    return head + _BEGIN + content + _END + rest.split(_END)[1]
