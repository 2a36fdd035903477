# SPDX-License-Identifier: GPL-2.0-or-later
"""Where QEMU's SMMUv3 leaves the architecture, each by name.

``item`` is the number of the paragraph in ``data/smmuv3/README.md`` (and of the judgement in
``VERDICTS.md``); a word instead of a number points at the list "implementation-defined", "seen N"
at the list "also seen". Sections are of IHI 0070 (S) and DDI 0487 (A). A deviation that is not
``wrong`` is a choice that the architecture leaves free.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Deviation:
    """One point at which QEMU does something else than the architecture says."""

    name: str
    item: str
    sections: str
    reason: str
    wrong: bool = True


_TABLE = (
    Deviation(
        "concatenated-tables",
        "1",
        "A D8.2.2, D8.2.5.2; S 5.2",
        "concatenated start tables of stage 2 are all taken for the first one",
    ),
    Deviation(
        "stage2-of-tables",
        "2",
        "S 7.3.13, 7.3.22",
        "stage 2 translates the base of a stage-1 table, not the address of each descriptor",
    ),
    Deviation(
        "ttb-at-decode",
        "3",
        "S 3.4, 3.21.1, 7.3.22, 16.2.1",
        "both TTBs go through stage 2 when the CD is read, and stay with the configuration",
    ),
    Deviation(
        "lost-s2",
        "4",
        "S 3.12, 5.5, 7.3.12, 7.3.13",
        "a stage-2 fault under a stage-1 walk is reported as stage 1's, gated by CD.R",
    ),
    Deviation(
        "tbi1-ignored",
        "5",
        "S 3.4.1, 5.4",
        "TBI0 is used for both halves of the address space",
    ),
    Deviation(
        "l1std-span",
        "6",
        "S 5.1, 3.3.1.2, 7.3.3",
        "a level-2 stream table is taken for twice its size, beyond which is C_BAD_STE",
    ),
    Deviation(
        "l2ptr-alignment",
        "6",
        "S 5.1",
        "L2Ptr is not aligned down to the size of the level-2 table",
    ),
    Deviation(
        "sticky-fmt",
        "7",
        "S 6.3.25",
        "a stream table that was two-level once stays so, with its old split",
    ),
    Deviation(
        "block-level",
        "8",
        "A D8.15.1.1, D8.3.1.2",
        "blocks are accepted at every level above the last",
    ),
    Deviation(
        "table-address-size",
        "9",
        "S 3.4, 3.4.3, 7.3.14, 7.3.22",
        "addresses of next-level tables are not checked against the output size",
    ),
    Deviation(
        "leaf-check-order",
        "10",
        "S 7.3.22; A D8.15.5",
        "access flag and permission are judged before the address size",
    ),
    Deviation(
        "aptable",
        "11",
        "A D8.4; S 7.3.22, 5.4",
        "APTable is half ignored, judged on the way down, and forgotten by the TLB",
    ),
    Deviation(
        "privileged",
        "12",
        "S 3.9, 13.7, 13.1.3",
        "every transaction counts as privileged",
    ),
    Deviation(
        "hit-permissions",
        "13",
        "S 3.12, 7.3.16, 16.2",
        "a TLB hit checks writes only, and reports stage 2's fault badly or not at all",
    ),
    Deviation(
        "input-address-size",
        "14",
        "S 3.4, 3.4.3, 3.12, 7.3.14",
        "an address beyond the input size of stage 2 aborts without an event",
    ),
    Deviation(
        "s2t0sz-s2ps",
        "15",
        "S 5.2; A D8.2",
        "an input size of stage 2 above its output size makes the STE bad",
    ),
    Deviation(
        "s2-start-level",
        "15",
        "S 5.2; A D8.2",
        "an input size of stage 2 too small for the start level is accepted",
    ),
    Deviation(
        "s2-hardware-flags",
        "15",
        "S 5.2",
        "S2HA and S2HD are accepted although HTTU is absent",
    ),
    Deviation(
        "s2ptw",
        "15",
        "S 5.2",
        "S2PTW does not protect walks and CD fetches from stage-2 Device memory",
    ),
    Deviation(
        "s1cdmax",
        "16",
        "S 5.2",
        "S1CDMax makes the STE bad although there are no substreams",
    ),
    Deviation(
        "s1stalld",
        "16",
        "S 5.2, 5.5",
        "S1STALLD makes the STE bad although stage 1 does not translate",
    ),
    Deviation(
        "recinvsid",
        "17",
        "S 6.3.12, 7.3.3",
        "C_BAD_STREAMID is recorded although CR2.RECINVSID is 0",
    ),
    Deviation(
        "queue-full",
        "18",
        "S 7.4, 7.2.1, 6.3.95",
        "an event that finds the queue full raises a global error, not OVFLG",
    ),
    Deviation(
        "events-after-abort",
        "18",
        "S 7.2.1, 7.2.2",
        "events are recorded while EVENTQ_ABT_ERR is active",
    ),
    Deviation(
        "cd-fetch-address",
        "19",
        "S 7.3.10",
        "F_CD_FETCH carries its address in the wrong doubleword",
    ),
    Deviation(
        "ipa-low-bits",
        "19",
        "S 7.3.13",
        "the IPA of a record keeps bits outside its field",
    ),
    Deviation(
        "walk-rnw",
        "19",
        "S 7.3, 7.3.13",
        "a stage-2 fault under a fetch says read, whatever the transaction was",
    ),
    Deviation(
        "ttrnw",
        "19",
        "S 7.3.16",
        "F_PERMISSION of a table walk does not say that the walk read",
    ),
    Deviation(
        "irq-per-record",
        "20",
        "S 3.18, 3.18.2, 3.5.2",
        "the event queue interrupts for each record, not when it stops being empty",
    ),
    Deviation(
        "illegal-commands",
        "21",
        "S 4.1.1, 4.1.3, 4.3.3, 4.4.1, 4.4.2, 4.5, 4.7",
        "commands that must stop the queue are accepted",
    ),
    Deviation(
        "cr0ack",
        "24",
        "S 6.3.10",
        "CR0ACK shows bits of absent features",
    ),
    Deviation(
        "irq-ctrl-ack",
        "24",
        "S 6.3.19",
        "IRQ_CTRLACK shows reserved bits",
    ),
    Deviation(
        "cr2-while-enabled",
        "24",
        "S 6.3.12",
        "CR2 can be written while the SMMU is enabled",
    ),
    Deviation(
        "gerror-irq-cfg",
        "24",
        "S 6.3.21, 6.3.22, 6.3.23",
        "GERROR_IRQ_CFG* exist although MSIs do not",
    ),
    Deviation(
        "bypass-address-size",
        "STE Config",
        "S 3.4, 5.2.1",
        "a stream that bypasses may use addresses beyond the output size",
    ),
    Deviation(
        "cd-pointer-size",
        "seen 3",
        "S 3.4.3",
        "a CD pointer beyond the output size is fetched",
    ),
    Deviation(
        "global-entries",
        "TLBI",
        "S 4.4.1; A D8.17",
        "global entries survive an invalidation that names another ASID",
    ),
    Deviation(
        "split-blocks",
        "TLBI",
        "S 4.4.2, 4.4.3; A D8.17",
        "entries cut from one block survive an invalidation inside that block",
    ),
)

DEVIATIONS: dict[str, Deviation] = {deviation.name: deviation for deviation in _TABLE}
