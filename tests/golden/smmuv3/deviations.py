# SPDX-License-Identifier: GPL-2.0-or-later
"""Where QEMU's SMMUv3 leaves the architecture, each by name.

``item`` is the number of the paragraph in ``data/smmuv3/README.md`` (and of the judgement in
``VERDICTS.md``); a word instead of a number points at the list "implementation-defined", "seen N"
at the list "also seen". Sections are of IHI 0070 (S) and DDI 0487 (A). ``example`` is a scenario of
the shipped corpus (after its prefix) in which the deviation explains a step. A deviation that is
not ``wrong`` is a choice that the architecture leaves free.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Deviation:
    """One point at which QEMU does something else than the architecture says."""

    name: str
    item: str
    sections: str
    reason: str
    example: str
    wrong: bool = True
    only: str = ""  # the one field of an outcome that can show it, where there is only one


_TABLE = (
    Deviation(
        "concatenated-tables",
        "1",
        "A D8.2.2, D8.2.5.2; S 5.2",
        "concatenated start tables of stage 2 are all taken for the first one",
        "nested-nested-34",
    ),
    Deviation(
        "stage2-of-tables",
        "2",
        "S 7.3.13, 7.3.22",
        "stage 2 translates the base of a stage-1 table, not the address of each descriptor",
        "nested-nested-21",
    ),
    Deviation(
        "ttb-at-decode",
        "3",
        "S 3.4, 3.21.1, 7.3.22, 16.2.1",
        "both TTBs go through stage 2 when the CD is read, and stay with the configuration",
        "nested-nested-62",
    ),
    Deviation(
        "lost-s2",
        "4",
        "S 3.12, 5.5, 7.3.12, 7.3.13",
        "a stage-2 fault under a stage-1 walk is reported as stage 1's, gated by CD.R",
        "nested-nested-22",
    ),
    Deviation(
        "tbi1-ignored",
        "5",
        "S 3.4.1, 5.4",
        "TBI0 is used for both halves of the address space",
        "s1-nested-5",
    ),
    Deviation(
        "level2-stream-table",
        "6",
        "S 5.1, 3.3.1.2, 7.3.3",
        "a level-2 stream table is taken for twice its size, and its pointer for 64 bits unaligned",
        "ste-s1only-7",
    ),
    Deviation(
        "sticky-fmt",
        "7",
        "S 6.3.25",
        "a stream table that was two-level once stays so, with its old split",
        "strtab-nested-16",
    ),
    Deviation(
        "block-level",
        "8",
        "A D8.15.1.1, D8.3.1.2",
        "blocks are accepted at every level above the last",
        "s1-nested-187",
    ),
    Deviation(
        "table-address-size",
        "9",
        "S 3.4, 3.4.3, 7.3.14, 7.3.22",
        "addresses of next-level tables are not checked against the output size",
        "s1-nested-239",
    ),
    Deviation(
        "leaf-check-order",
        "10",
        "S 7.3.22; A D8.15.5",
        "access flag and permission are judged before the address size",
        "s1-nested-55",
    ),
    Deviation(
        "aptable",
        "11",
        "A D8.4; S 7.3.22, 5.4",
        "APTable is half ignored, judged on the way down, and forgotten by the TLB",
        "s1-nested-0",
    ),
    Deviation(
        "privileged",
        "12",
        "S 3.9, 13.7, 13.1.3",
        "every transaction counts as privileged",
        "s1-nested-1",
    ),
    Deviation(
        "hit-permissions",
        "13",
        "S 3.12, 7.3.16, 16.2",
        "a TLB hit checks writes only, and reports stage 2's fault badly or not at all",
        "s2-nested-5",
    ),
    Deviation(
        "input-address-size",
        "14",
        "S 3.4, 3.4.3, 3.12, 7.3.14",
        "an address beyond the input size of stage 2 aborts without an event",
        "s2-nested-0",
    ),
    Deviation(
        "s2t0sz-s2ps",
        "15",
        "S 5.2; A D8.2",
        "an input size of stage 2 above its output size makes the STE bad",
        "s2-nested-285",
    ),
    Deviation(
        "s2-start-level",
        "15",
        "S 5.2; A D8.2",
        "an input size of stage 2 too small for the start level is accepted",
        "s2-nested-40",
    ),
    Deviation(
        "s2-hardware-flags",
        "15",
        "S 5.2",
        "S2HA and S2HD are accepted although HTTU is absent",
        "s2-nested-31",
    ),
    Deviation(
        "s2ptw",
        "15",
        "S 5.2",
        "S2PTW does not protect walks and CD fetches from stage-2 Device memory",
        "nested-nested-7",
    ),
    Deviation(
        "s1cdmax",
        "16",
        "S 5.2",
        "S1CDMax makes the STE bad although there are no substreams",
        "ste-nested-29",
    ),
    Deviation(
        "s1stalld",
        "16",
        "S 5.2, 5.5",
        "S1STALLD makes the STE bad although stage 1 does not translate",
        "cfgcache-nested-0",
    ),
    Deviation(
        "recinvsid",
        "17",
        "S 6.3.12, 7.3.3",
        "C_BAD_STREAMID is recorded although CR2.RECINVSID is 0",
        "ste-s1only-2",
    ),
    Deviation(
        "queue-full",
        "18",
        "S 7.4, 7.2.1, 6.3.95",
        "an event that finds the queue full raises a global error, not OVFLG",
        "evtq-nested-0",
    ),
    Deviation(
        "events-after-abort",
        "18",
        "S 7.2.1, 7.2.2",
        "events are recorded while EVENTQ_ABT_ERR is active",
        "evtq-nested-13",
    ),
    Deviation(
        "cd-fetch-address",
        "19",
        "S 7.3.10",
        "F_CD_FETCH carries its address in the wrong doubleword",
        "ste-s1only-0",
    ),
    Deviation(
        "address-fields",
        "19",
        "S 7.3.4, 7.3.12, 7.3.13",
        "addresses in records keep bits outside their fields or beyond the output size",
        "s2-nested-0",
    ),
    Deviation(
        "walk-rnw",
        "19",
        "S 7.3, 7.3.13",
        "a stage-2 fault under a fetch says read, whatever the transaction was",
        "nested-nested-0",
    ),
    Deviation(
        "ttrnw",
        "19",
        "S 7.3.16",
        "F_PERMISSION of a table walk does not say that the walk read",
        "nested-nested-44",
    ),
    Deviation(
        "irq-per-record",
        "20",
        "S 3.18, 3.18.2, 3.5.2",
        "the event queue interrupts for each record, not when it stops being empty",
        "s1-nested-0",
        only="interrupts",
    ),
    Deviation(
        "illegal-commands",
        "21",
        "S 4.1.1, 4.1.3, 4.3.3, 4.4.1, 4.4.2, 4.5, 4.7",
        "commands that must stop the queue are accepted",
        "cmdq-s1only-0",
    ),
    Deviation(
        "cr0ack",
        "24",
        "S 6.3.10",
        "CR0ACK shows bits of absent features",
        "regs-nested-2",
        only="value",
    ),
    Deviation(
        "irq-ctrl-ack",
        "24",
        "S 6.3.19",
        "IRQ_CTRLACK shows reserved bits",
        "regs-nested-3",
        only="value",
    ),
    Deviation(
        "cr2-while-enabled",
        "24",
        "S 6.3.12",
        "CR2 can be written while the SMMU is enabled",
        "regs-live-nested-5",
    ),
    Deviation(
        "gerror-irq-cfg",
        "24",
        "S 6.3.21, 6.3.22, 6.3.23",
        "GERROR_IRQ_CFG* exist although MSIs do not",
        "regs-nested-0",
        only="value",
    ),
    Deviation(
        "bypass-address-size",
        "STE Config",
        "S 3.4, 5.2.1",
        "a stream that bypasses may use addresses beyond the output size",
        "ste-s1only-0",
    ),
    Deviation(
        "cd-pointer-size",
        "seen 3",
        "S 3.4.3",
        "a CD pointer beyond the output size is fetched",
        "cd-nested-7",
    ),
    Deviation(
        "short-invalidation",
        "TLBI",
        "S 3.4.1, 4.4.1, 4.4.2; A D8.17",
        "invalidations by address leave global entries of other ASIDs, pieces of the same block, "
        "and entries made through a tagged address",
        "tlb-s1-s1only-9",
    ),
    Deviation(
        "split-transfers",
        "split transfers",
        "S 7.2",
        "an unaligned transfer that fails is several accesses, each with its event",
        "s1-nested-191",
        wrong=False,
    ),
    Deviation(
        "guarded-registers",
        "24",
        "S 6.2, 6.3.11, 6.3.24 to 6.3.30",
        "registers that are guarded while something is enabled can be written",
        "evtq-nested-15",
        wrong=False,
    ),
    Deviation(
        "cons-error-code",
        "24",
        "S 6.3.28",
        "a write of CMDQ_CONS replaces its error code",
        "cmdq-s1only-0",
        wrong=False,
    ),
    Deviation(
        "reserved-bits",
        "24",
        "S 6.2",
        "reserved bits of registers, addresses beyond the output size too, keep what is written",
        "gbpa-nested-3",
        wrong=False,
    ),
    Deviation(
        "page-alias",
        "24",
        "S 6.1, 6.2",
        "page 1 of the registers repeats page 0",
        "regs-nested-5",
        wrong=False,
    ),
    Deviation(
        "id-bytes",
        "24",
        "S 6.2",
        "the implementation-defined identification bytes are MMU-600's",
        "regs-nested-2",
        only="value",
        wrong=False,
    ),
    Deviation(
        "tlb-tags",
        "caching",
        "S 3.3.3, 16.2.1; A D8.16",
        "entries are told apart by ASID, granule, level and address tag, but not by their stages",
        "tlb-s1-nested-72",
        wrong=False,
    ),
)

EXPLAINED = "smmuv3-explained"
"""User property of a test's report: pairs of a deviation and the steps that it explained."""

DEVIATIONS: dict[str, Deviation] = {deviation.name: deviation for deviation in _TABLE}


def lasting(names: Iterable[str]) -> frozenset[str]:
    """Return the names that stick to what is cached under them: choices leave nothing wrong."""
    return frozenset(name for name in names if DEVIATIONS[name].wrong)
