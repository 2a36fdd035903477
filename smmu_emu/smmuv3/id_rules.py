# SPDX-License-Identifier: GPL-2.0-or-later
"""Which ID registers can be: what a field needs of others, and what a version may have.

Spec: IHI 0070 6.3.1 to 6.3.8 (fields, and what each says of others), 2.9 (an SMMUv3.x may have
features of 3.(x+1), none of 3.(x+2)). Rules about registers that this model lacks are left out.
Values that are unusual but harmless pass, as there are SMMUs that have them: features that a
version should have and does not, and features of an absent stage.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from smmu_emu.smmuv3.spec.registers import IDR0, IDR1, IDR3, IDR5

if TYPE_CHECKING:
    from smmu_emu.smmuv3.ids import IdRegisters

Fields = Any
"""Fields of the ID registers by their names; ``minor`` and ``major`` are AIDR's."""

_REGISTER_OF = {
    name: word.__name__ for word in (IDR0, IDR1, IDR3, IDR5) for name in word.FIELDS
} | {"BA_VATOS": "IDR2"}
_SECTION_OF = {"IDR0": "6.3.1", "IDR1": "6.3.2", "IDR2": "6.3.3", "IDR3": "6.3.4", "IDR5": "6.3.6"}


class Rule(NamedTuple):
    """What must not be; ``text`` tells what is wrong then, ``section`` where that is written."""

    broken: Callable[[Fields], Any]
    text: str
    section: str


def broken_rule(ids: IdRegisters) -> str | None:
    """What is wrong with ID registers, in one line; None if nothing is."""
    fields = _fields(ids)
    for rule in RULES:
        if rule.broken(fields):
            return f"{rule.text} (IHI 0070 {rule.section})"
    return None


def _fields(ids: IdRegisters) -> Fields:
    fields = {"minor": ids.aidr & 0xF, "major": ids.aidr >> 4, "BA_VATOS": ids.idr2}
    for word in (ids.features, ids.sizes, ids.extras, ids.addresses):
        fields |= word.fields()
    return SimpleNamespace(**fields)


def _named(field: str) -> str:
    return f"{_REGISTER_OF[field]}.{field}"


def _about(field: str, broken: Callable[[Fields], Any], text: str) -> Rule:
    """A rule that the description of a field holds."""
    return Rule(broken, f"{_named(field)} {text}", _SECTION_OF[_REGISTER_OF[field]])


def _at_most(field: str, most: int) -> Rule:
    return _about(field, lambda f: getattr(f, field) > most, f"must not be above {most}")


def _reserved(field: str, number: int) -> Rule:
    return _about(field, lambda f: getattr(f, field) == number, f"= {number} is reserved")


def _needs(field: str, *others: str) -> Rule:
    """A field that must be 0 unless the others are set."""
    return _about(
        field,
        lambda f: getattr(f, field) and not all(getattr(f, other) for other in others),
        f"needs {' and '.join(map(_named, others))}",
    )


def _until(version: int, field: str) -> Rule:
    """A feature of SMMUv3.``version``, which the version before may have, and none before."""
    return Rule(
        lambda f: getattr(f, field) and f.minor < version - 1,
        f"{_named(field)} is a feature of SMMUv3.{version}: clear it, or raise AIDR",
        "2.9",
    )


_NUMBERS = (
    Rule(lambda f: f.major or f.minor > 4, "AIDR must be 0 to 4 (SMMUv3.0 to 3.4)", "6.3.8"),
    *(_reserved(*pair) for pair in (("TTF", 0), ("TTENDIAN", 1), ("STALL_MODEL", 3))),
    _at_most("ST_LEVEL", 1),
    _at_most("SIDSIZE", 32),
    _at_most("SSIDSIZE", 20),
    *(_at_most(field, 19) for field in ("CMDQS", "EVENTQS")),
    _about("PRIQS", lambda f: f.PRI and f.PRIQS > 19, "must not be above 19"),
    *(_reserved(*pair) for pair in (("BBML", 3), ("VAX", 3))),
)

_FEATURES = (
    _needs("Hyp", "S1P", "S2P"),
    _needs("PRI", "ATS"),
    _needs("ATSRECERR", "ATS"),
    _needs("NS1ATS", "ATS", "S1P", "S2P"),
    _needs("VATOS", "ATOS", "S1P", "S2P"),
    _needs("BA_VATOS", "VATOS"),
    _needs("VMW", "S2P"),
    _needs("PBHA", "HAD"),
    _needs("PPS", "PRI", "SSIDSIZE"),
    _needs("PTWNNC", "S2P"),
    _needs("DPT", "ATS"),
    _about("DPT", lambda f: f.DPT and f.TTF & 1, "excludes IDR0.TTF[0]"),
    _needs("PASIDTT", "ATS", "SSIDSIZE"),
    *(_needs(field, "S1P") for field in ("S1PI", "AIE", "THE")),
    *(_needs(field, "S2P") for field in ("S2PI", "MTEPERM")),
    _needs("S2PO", "S2PI"),
    _about("THE", lambda f: f.THE and f.S2P and not f.S2PI, "with IDR0.S2P needs IDR3.S2PI"),
    _needs("ECMDQ", "COHACC", "MSI"),
    _about("ECMDQ", lambda f: f.ECMDQ and f.QUEUES_PRESET, "excludes IDR1.QUEUES_PRESET"),
    _about(
        "REL",
        lambda f: f.REL and not (f.TABLES_PRESET or f.QUEUES_PRESET),
        "needs IDR1.TABLES_PRESET or IDR1.QUEUES_PRESET",
    ),
    _about("SIDSIZE", lambda f: f.SIDSIZE >= 7 and not f.ST_LEVEL, "from 7 on needs IDR0.ST_LEVEL"),
)

_ADDRESSES = (
    _about("GRAN4K", lambda f: f.TTF & 1 and not f.GRAN4K, "is not 0 where IDR0.TTF[0] is 1"),
    _about(
        "TTF",
        lambda f: f.TTF & 2 and not (f.GRAN4K or f.GRAN16K or f.GRAN64K),
        "with AArch64 tables needs a granule in IDR5",
    ),
    _about(
        "STALL_MAX",
        lambda f: f.STALL_MAX and f.STALL_MODEL == 1,
        "is 0 where IDR0.STALL_MODEL has no stalls",
    ),
    _about("DS", lambda f: f.DS and not (f.GRAN4K or f.GRAN16K), "needs GRAN4K or GRAN16K"),
    _needs("DS", "VAX"),
    _about("VAX", lambda f: f.VAX and not (f.GRAN64K or f.DS), "needs IDR5.GRAN64K or IDR5.DS"),
    _about("VAX", lambda f: f.VAX == 2 and not f.D128, "= 2 needs IDR5.D128"),
    _about(
        "OAS",
        lambda f: f.OAS == 6 and not (f.GRAN64K or f.DS or f.D128),
        "of 52 bits needs IDR5.GRAN64K, DS or D128",
    ),
    _about("OAS", lambda f: f.OAS == 7 and not f.D128, "of 56 bits needs IDR5.D128"),
    _about("D128", lambda f: f.D128 and f.TTF != 2, "needs IDR0.TTF = 2"),
    _about(
        "D128", lambda f: f.D128 and f.S1P and not (f.S1PI and f.AIE), "needs IDR3.S1PI and AIE"
    ),
    _about(
        "D128",
        lambda f: f.D128 and f.S2P and not (f.S2PI and f.S2PO and f.MTEPERM),
        "needs IDR3.S2PI, S2PO and MTEPERM",
    ),
)

_VERSIONS = (
    *(_until(2, field) for field in ("MPAM", "FWB", "STT", "RIL", "BBML")),
    *(_until(3, field) for field in ("ECMDQ", "ATSRECERR", "E0PD", "PTWNNC")),
    *(_until(4, field) for field in ("DPT", "PASIDTT", "EPAN", "S1PI", "S2PI", "S2PO", "THE")),
    *(_until(4, field) for field in ("MTEPERM", "AIE", "DS", "D128")),
    Rule(
        lambda f: f.HTTU == 3 and f.minor < 3,
        "IDR0.HTTU = 3 is a feature of SMMUv3.4: lower it, or raise AIDR",
        "2.9",
    ),
    Rule(lambda f: f.RME_IMPL and f.minor < 2, "IDR0.RME_IMPL needs SMMUv3.2: raise AIDR", "2.6"),
)

RULES = (*_NUMBERS, *_FEATURES, *_ADDRESSES, *_VERSIONS)
"""In the order in which they are looked at."""
