# SPDX-License-Identifier: GPL-2.0-or-later
"""Gets a campaign's runs done by any `concurrent.futures` executor, and keeps their results.

Results are kept as they come, so whatever ends a campaign, it goes on where it was. If a worker
process dies, what had not been answered is tried again by new workers, part by part and in ever
smaller ones; a run that ends its worker twice is kept as *invalid*. Dask's executors deal with
deaths by themselves.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import NamedTuple

from smmu_emu.campaign.outcome import Class, Facts, Verdict
from smmu_emu.campaign.runner import Result, do_runs
from smmu_emu.campaign.spec import Campaign
from smmu_emu.campaign.store import Store
from smmu_emu.cpu.exit import ExitKind

PART = 64
"""Runs that are given to a worker at once."""
_AHEAD = 4
"""Parts for each worker that wait with it."""

Progress = Callable[[list[Result]], None]
MakeExecutor = Callable[[], Executor]


class _Part(NamedTuple):
    numbers: list[int]
    deaths: int = 0


def local_workers(count: int) -> MakeExecutor:
    """Worker processes on this machine."""

    def make() -> Executor:
        # A forked worker would share this process's engines and threads.
        context = get_context("spawn")
        return ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker)

    return make


def _begin_worker() -> None:
    """Ctrl-C is for the one who keeps the results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def carry_out(
    campaign: Campaign,
    store: Store,
    make_executor: MakeExecutor,
    workers: int,
    progress: Progress = lambda results: None,
) -> int:
    """Do what is not done yet, and keep it in ``store``; how many runs that was.

    Raises: CampaignError for a target that does not work; KeyboardInterrupt, with everything kept
        that was answered.
    """
    done = store.done()
    pending = [number for number in campaign.numbers() if number not in done]
    size = max(1, min(PART, len(pending) // (workers * _AHEAD) or 1))
    parts = deque(_Part(pending[at : at + size]) for at in range(0, len(pending), size))
    plain = campaign.as_dict()

    def work(parts: deque[_Part], ahead: int) -> list[_Part]:
        return _work(make_executor(), parts, plain, ahead, store, progress)

    while parts:
        suspects = deque(work(parts, workers * _AHEAD))
        while suspects:  # one by one, or the innocent would be blamed with the guilty
            part = suspects.popleft()
            if work(deque([part]), 1):
                suspects.extend(_halves(part, store, progress))
    return len(pending)


def _work(
    executor: Executor,
    parts: deque[_Part],
    plain: dict[str, object],
    ahead: int,
    store: Store,
    progress: Progress,
) -> list[_Part]:
    """Work until all is done or a worker dies; the parts that were under way then."""
    under_way: dict[Future[list[Result]], _Part] = {}
    try:
        while parts or under_way:
            while parts and len(under_way) < ahead:
                future = executor.submit(do_runs, plain, parts[0].numbers)
                under_way[future] = parts.popleft()
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                results = future.result()
                store.add(results)
                del under_way[future]
                progress(results)
    except BrokenProcessPool:
        return list(under_way.values())
    finally:
        for future in under_way:
            future.cancel()
        executor.shutdown(wait=False)
    return []


def _halves(part: _Part, store: Store, progress: Progress) -> list[_Part]:
    """What to try of a part that a worker died of; a single run has a second chance."""
    numbers, deaths = part
    if len(numbers) > 1:
        half = len(numbers) // 2
        return [_Part(numbers[:half]), _Part(numbers[half:])]
    if not deaths:
        return [_Part(numbers, deaths + 1)]
    result = _died(numbers[0])
    store.add([result])
    progress([result])
    return []


def _died(number: int) -> Result:
    verdict = Verdict(Class.INVALID, "the worker process died of it, again and again")
    facts = Facts(ExitKind.DEVICE, 0, "", 0, b"", {}, 0, 0, {}, (), b"")
    return Result(number, verdict, facts)
