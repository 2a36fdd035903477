# SPDX-License-Identifier: GPL-2.0-or-later
"""Every finding there is, one file a rule or a family of rules.

`KINDS` is the catalogue. `DUE` judges what is stale and due: each says whether it has a name for
it, and what is left gets that of `missing_invalidate`. Rules about other things are classes that
`smmu_emu.check.unit` feeds with events.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.due import Due
from smmu_emu.check.findings import Found, Kind
from smmu_emu.check.rules import (
    advice,
    break_before_make,
    coherency,
    command_queue,
    config_not_hitless,
    global_errors,
    isolation_breach,
    leaf_only,
    misplaced,
    missing_invalidate,
    missing_sync,
    output_queues,
    outside_memory,
    page_requests,
    registers,
    stale_atc,
    stale_config,
    stale_tlb_hit,
    stale_walk_cache,
    stalls,
    table_reuse,
    wrong_scope,
)

DUE: tuple[Callable[[Due], Found | None], ...] = (
    stale_tlb_hit.judge,
    stale_walk_cache.judge,
    break_before_make.judge,
    wrong_scope.judge,
    leaf_only.judge,
    table_reuse.judge,
)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        stale_tlb_hit.KIND,
        *stale_config.KINDS,
        stale_walk_cache.KIND,
        *stale_atc.KINDS,
        missing_invalidate.KIND,
        missing_sync.KIND,
        wrong_scope.KIND,
        leaf_only.KIND,
        break_before_make.KIND,
        table_reuse.KIND,
        config_not_hitless.KIND,
        isolation_breach.KIND,
        *command_queue.KINDS,
        *output_queues.KINDS,
        registers.KIND,
        misplaced.KIND,
        *global_errors.KINDS,
        outside_memory.KIND,
        stalls.KIND,
        *page_requests.KINDS,
        coherency.KIND,
        *advice.KINDS,
    )
}
"""By name, in the order of the documentation."""

__all__ = ["DUE", "KINDS", "missing_invalidate"]
