# SPDX-License-Identifier: GPL-2.0-or-later
"""ID registers of known SMMUs, each reduced to what is modelled here.

`REAL` holds what the originals have: QEMU's were read out; those of Arm's FVP are its defaults and
what Trusted Firmware's and Hafnium's tests set; the two MMUs are put together from what Arm says
of them in public, so they are alike and not the same. `reduced` takes away what is not modelled, so
that a preset grows with this package; docs/id_presets.md shows what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from smmu_emu.smmuv3.ids import ABSENT, IdRegisters
from smmu_emu.smmuv3.spec.registers import IDR0, IDR1, IDR3, IDR5

_LIMITS = {"TTF": 2, "TTENDIAN": 2, "HTTU": 2, "OAS": 6, "VAX": 1}
"""What fields become whose number is not modelled."""
_MODELLED = {"TTF": (2,), "TTENDIAN": (2,), "HTTU": (0, 1, 2), "OAS": range(7), "VAX": (0, 1)}


class Change(NamedTuple):
    """What a preset lacks of its original: a field, or bits that mean nothing ("IDR5[3]")."""

    field: str
    real: int
    here: int

    def __str__(self) -> str:
        return f"{self.field} {self.real} → {self.here}"


def reduced(real: IdRegisters) -> tuple[IdRegisters, list[Change]]:
    """ID registers without what is not modelled, and what was taken away."""
    values: dict[str, int] = {}
    changes: list[Change] = []
    for register, absent in ABSENT.items():
        name = register.__name__
        word = register(getattr(real, name.lower()))
        for bit in range(32):
            if word.value & ~word.mask() & 1 << bit:
                changes.append(Change(f"{name}[{bit}]", 1, 0))
        kept = register(word.value & word.mask())
        for field, number in kept.fields().items():
            here = 0 if field in absent else number
            if field in _LIMITS and number not in _MODELLED[field]:
                here = _LIMITS[field]
            if here != number:
                changes.append(Change(f"{name}.{field}", number, here))
                kept = kept.replace(**{field: here})
        values[name.lower()] = kept.value
    return replace(real, idr2=0, **values), changes


def _full() -> IdRegisters:
    """Everything that is modelled and does not exclude something else."""
    return IdRegisters(
        idr0=IDR0.make(
            S2P=1,
            S1P=1,
            TTF=2,
            COHACC=1,
            HTTU=2,
            Hyp=1,
            ATS=1,
            ASID16=1,
            MSI=1,
            SEV=1,
            PRI=1,
            VMID16=1,
            CD2L=1,
            TTENDIAN=2,
            ATSRECERR=1,
            ST_LEVEL=1,
        ).value,
        idr1=IDR1.make(
            SIDSIZE=32,
            SSIDSIZE=20,
            PRIQS=19,
            EVENTQS=19,
            CMDQS=19,
            ATTR_PERMS_OVR=1,
            ATTR_TYPES_OVR=1,
        ).value,
        idr3=IDR3.make(HAD=1, XNX=1, FWB=1, STT=1, RIL=1, BBML=2).value,
        idr5=IDR5.make(OAS=6, GRAN4K=1, GRAN16K=1, GRAN64K=1, VAX=1, STALL_MAX=32).value,
        aidr=2,
    )


def _mmu(*, version: int, sid_bits: int, idr3: int, iidr: int, vax: int) -> IdRegisters:
    """What MMU-600 and MMU-700 have in common."""
    return IdRegisters(
        idr0=IDR0.make(
            S2P=1,
            S1P=1,
            TTF=3,
            COHACC=1,
            BTM=1,
            HTTU=2,
            Hyp=1,
            ATS=1,
            ASID16=1,
            MSI=1,
            SEV=1,
            PRI=1,
            VMW=1,
            VMID16=1,
            CD2L=1,
            TTENDIAN=0,
            TERM_MODEL=1,
            ST_LEVEL=1,
        ).value,
        idr1=IDR1.make(
            SIDSIZE=sid_bits,
            SSIDSIZE=20,
            PRIQS=19,
            EVENTQS=19,
            CMDQS=19,
            ATTR_PERMS_OVR=1,
            ATTR_TYPES_OVR=1,
        ).value,
        idr3=idr3,
        idr5=IDR5.make(OAS=5, GRAN4K=1, GRAN16K=1, GRAN64K=1, VAX=vax, STALL_MAX=128).value,
        iidr=iidr,
        aidr=version,
    )


REAL: dict[str, IdRegisters] = {
    "qemu-stage1": IdRegisters(),
    "qemu": IdRegisters(idr0=0x0D44101B, idr3=0x1414),
    "full": _full(),
    "fvp": IdRegisters(idr0=0x080FE6BF, idr1=0x0E739D10, idr3=0x14, idr5=0x1005D, aidr=1),
    "fvp-ci": IdRegisters(idr0=0x0046123B, idr1=0x00600002, idr3=0x1714, idr5=0xFFFF0472, aidr=2),
    "mmu-600": _mmu(
        version=1,
        sid_bits=24,
        idr3=IDR3.make(HAD=1, PBHA=1, XNX=1).value,
        iidr=0x4832_043B,
        vax=0,
    ),
    "mmu-700": _mmu(
        version=2,
        sid_bits=32,
        idr3=IDR3.make(HAD=1, PBHA=1, XNX=1, MPAM=1, FWB=1, STT=1, RIL=1, BBML=2).value,
        iidr=0x4871_043B,
        vax=1,
    ),
}
"""What the originals have."""


class _Presets(Mapping[str, IdRegisters]):
    """`REAL`, reduced when asked for: a start has no use for most of it."""

    def __init__(self) -> None:
        self._made: dict[str, IdRegisters] = {}

    def __getitem__(self, name: str) -> IdRegisters:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = reduced(REAL[name])[0]
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(REAL)

    def __len__(self) -> int:
        return len(REAL)

    def __contains__(self, name: object) -> bool:
        return name in REAL


PRESETS: Mapping[str, IdRegisters] = _Presets()
"""ID registers of known SMMUs, by name, as far as they are modelled."""


def missing(name: str) -> list[Change]:
    """What a preset lacks of its original."""
    return reduced(REAL[name])[1]
