# SPDX-License-Identifier: GPL-2.0-or-later
"""Results in a SQLite file: one row a run, readable by any tool, safe to stop at any moment.

Table ``runs``: number, target, policy, seed, site, effect, fault (JSON, a table of a plan file),
outcome, detail, status, instructions, events and commands (JSON, counts by name), errors (GERROR's
bits), reasons (JSON), breaches. Table ``campaign`` holds the campaign itself, as ``text``, and the
digest of its images. Nothing in it depends on workers, order or the clock on the wall.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smmu_emu.campaign.runner import Result
from smmu_emu.campaign.spec import Campaign, CampaignError, campaign_of

_VERSION = 1
_TABLES = """
CREATE TABLE campaign (version INTEGER, name TEXT, text TEXT, identity TEXT);
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, target TEXT, policy TEXT, seed INTEGER, site TEXT, effect TEXT,
    family TEXT, fault TEXT, outcome TEXT, detail TEXT, status INTEGER, instructions INTEGER,
    events TEXT, commands TEXT, errors INTEGER, reasons TEXT, breaches INTEGER
);
"""
_ROW = f"INSERT OR REPLACE INTO runs VALUES ({', '.join('?' * 17)})"


class Store:
    """An open file of results, for a campaign that is known.

    Raises: CampaignError if the file is none, or belongs to another campaign.
    """

    def __init__(self, path: Path, campaign: Campaign | None = None) -> None:
        self.path = path
        if campaign is None and not path.exists():
            raise CampaignError(f"{path}: no such file of results")
        fresh = not path.exists() or path.stat().st_size == 0
        try:
            self._base = sqlite3.connect(path)
        except sqlite3.Error as error:
            raise CampaignError(f"{path}: {error}") from None
        with self._complaining():
            if fresh and campaign is not None:
                self._base.executescript(_TABLES)
                row = (_VERSION, campaign.name, campaign.text, campaign.identity)
                self._base.execute("INSERT INTO campaign VALUES (?, ?, ?, ?)", row)
                self._base.commit()
            self.campaign = self._read_campaign(campaign)

    def _read_campaign(self, wanted: Campaign | None) -> Campaign:
        row = self._base.execute("SELECT version, text, identity FROM campaign").fetchone()
        if row is None or row[0] != _VERSION:
            raise CampaignError(f"{self.path}: made by another version of this program")
        kept = campaign_of(json.loads(row[1]), str(self.path))
        if wanted is not None and (wanted.text != kept.text or wanted.identity != row[2]):
            raise CampaignError(
                f"{self.path}: it holds results of another campaign, or of images that have "
                "changed; name another file with --results"
            )
        if kept.identity != row[2]:
            raise CampaignError(f"{self.path}: an image has changed since these runs")
        return kept

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, json.JSONDecodeError) as error:
            raise CampaignError(f"{self.path}: no file of results: {error}") from None

    # -- runs

    def done(self) -> set[int]:
        """Numbers of the runs that it has."""
        with self._complaining():
            return {number for (number,) in self._base.execute("SELECT number FROM runs")}

    def add(self, results: Iterable[Result]) -> None:
        """Keep results, all or none."""
        rows = [self._row(result) for result in results]
        with self._complaining(), self._base:
            self._base.executemany(_ROW, rows)

    def _row(self, result: Result) -> tuple[Any, ...]:
        number, verdict, facts = result
        run = self.campaign.run(number)
        effect = run.fault.get("effect")
        return (
            number,
            run.target.name,
            run.policy,
            run.seed,
            run.fault.get("site"),
            effect.get("kind") if isinstance(effect, dict) else effect,
            self.campaign.families[run.family].title,
            json.dumps(run.fault, sort_keys=True),
            verdict.kind.value,
            verdict.detail,
            facts.status,
            facts.instructions,
            json.dumps(facts.events),
            json.dumps(facts.commands),
            facts.errors,
            json.dumps(facts.reasons),
            facts.breach_count,
        )

    def rows(self, columns: str = "*", where: str = "1", *values: Any) -> list[tuple[Any, ...]]:
        """Columns of runs, in order of their numbers."""
        with self._complaining():
            query = f"SELECT {columns} FROM runs WHERE {where} ORDER BY number"
            return self._base.execute(query, values).fetchall()

    def matrix(self) -> dict[tuple[str, str], dict[str, int]]:
        """Counts of outcomes by target and family of faults."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        with self._complaining():
            query = (
                "SELECT target, family, outcome, count(*) FROM runs "
                "GROUP BY target, family, outcome ORDER BY target, min(number)"
            )
            for target, family, outcome, count in self._base.execute(query):
                found.setdefault((target, family), {})[outcome] = count
        return found

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
