# SPDX-License-Identifier: GPL-2.0-or-later
"""Which SMMUv3 this is: the identification registers, and what follows from them.

Spec: IHI 0070 6.3.1 to 6.3.8. A device may only advertise what is modelled; `IdRegisters.check`
says which field is too ambitious, `id_rules` which fields contradict each other, `presets` has the
registers of known SMMUs. A feature that the registers do not advertise behaves as absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

from smmu_emu.errors import ConfigurationError
from smmu_emu.smmuv3.id_rules import broken_rule
from smmu_emu.smmuv3.spec.registers import IDR0, IDR1, IDR3, IDR5

OAS_BITS = (32, 36, 40, 42, 44, 48, 52, 56)
"""Output address sizes by IDR5.OAS, and by CD.IPS and STE.S2PS (there 6 and 7 both mean 52)."""

IPS_BITS = (32, 36, 40, 42, 44, 48, 52, 52)


@dataclass(frozen=True)
class IdRegisters:
    """Values of IDR0 to IDR5, IIDR and AIDR. The default is QEMU's, restricted to stage 1."""

    unsaved = ("*",)

    idr0: int = 0x0D44101A
    idr1: int = 0x02730010
    idr2: int = 0
    idr3: int = 0x1404
    idr4: int = 0
    idr5: int = 0x74
    iidr: int = 0
    aidr: int = 1

    @cached_property
    def features(self) -> IDR0:
        """IDR0 by its fields."""
        return IDR0(self.idr0)

    @cached_property
    def sizes(self) -> IDR1:
        """IDR1 by its fields."""
        return IDR1(self.idr1)

    @cached_property
    def extras(self) -> IDR3:
        """IDR3 by its fields."""
        return IDR3(self.idr3)

    @cached_property
    def addresses(self) -> IDR5:
        """IDR5 by its fields."""
        return IDR5(self.idr5)

    @cached_property
    def output_bits(self) -> int:
        """OAS: size of a physical address in bits."""
        return OAS_BITS[self.addresses.OAS]

    @cached_property
    def input_bits(self) -> int:
        """IAS: size of an intermediate physical address in bits. Spec: 3.4."""
        return max(40, self.output_bits) if self.features.TTF & 1 else self.output_bits

    @cached_property
    def minor(self) -> int:
        """Architecture version 3.minor."""
        return self.aidr & 0xF

    def txsz_limits(self, granule_lg2: int) -> tuple[int, int]:
        """Smallest and largest legal CD.TxSZ for a granule. Spec: 5.4 T0SZ, CDTxSZInvalid."""
        smallest = 12 if granule_lg2 == 16 and self.addresses.VAX else 16
        return smallest, self._largest_txsz(granule_lg2)

    def s2t0sz_limits(self, granule_lg2: int) -> tuple[int, int]:
        """Smallest and largest legal STE.S2T0SZ for a granule. Spec: 5.2 STES2T0SZInvalid."""
        smallest = 64 - self.input_bits
        if self.minor >= 1:
            smallest = max(12 if granule_lg2 == 16 else 16, smallest)
        return smallest, self._largest_txsz(granule_lg2)

    def _largest_txsz(self, granule_lg2: int) -> int:
        if not self.extras.STT:
            return 39
        return 47 if granule_lg2 == 16 else 48

    @cached_property
    def table_base_mask(self) -> int:
        """Address bits that TTB0, TTB1 and S2TTB hold: 48, or 52 from v3.1 on. Spec: 5.4 TTB0."""
        return (1 << (52 if self.minor else 48)) - 1

    def supports_granule(self, granule_lg2: int) -> bool:
        """Whether a granule of ``1 << granule_lg2`` bytes is advertised."""
        idr5 = self.addresses
        return bool({12: idr5.GRAN4K, 14: idr5.GRAN16K, 16: idr5.GRAN64K}.get(granule_lg2, 0))

    def check(self) -> None:
        """Refuse values that advertise what is not modelled, or that no SMMU can have.

        Raises: ConfigurationError naming the register and the field.
        """
        _check(self)


@cache
def _check(ids: IdRegisters) -> None:
    """Good values are judged once: that is a third of the cost of making an SMMU."""
    for register, absent in ABSENT.items():
        word = register(getattr(ids, register.__name__.lower()))
        names = [name for name in absent if getattr(word, name)]
        if unknown := word.value & ~word.mask():
            names += [f"bit {bit}" for bit in range(32) if unknown >> bit & 1]
        if names:
            raise ConfigurationError(
                f"{register.__name__}: {names[0]} advertises a feature that is not modelled; "
                f"clear it (docs/capabilities.md lists what is)"
            )
    if ids.features.TTF != 2:
        raise ConfigurationError("IDR0.TTF must be 2: only AArch64 tables are modelled")
    if ids.features.TTENDIAN != 2:
        raise ConfigurationError("IDR0.TTENDIAN must be 2: only little-endian walks are modelled")
    if ids.features.HTTU == 3:
        raise ConfigurationError("IDR0.HTTU = 3: flags of table descriptors are not modelled")
    if ids.addresses.OAS > 6 or ids.addresses.VAX > 1:
        raise ConfigurationError("IDR5: addresses of more than 52 bits are not modelled")
    if (problem := broken_rule(ids)) is not None:
        raise ConfigurationError(f"there is no SMMU with these ID registers: {problem}")


ABSENT: dict[type[IDR0] | type[IDR1] | type[IDR3] | type[IDR5], tuple[str, ...]] = {
    IDR0: ("BTM", "DORMHINT", "ATOS", "VMW", "VATOS", "RME_IMPL"),
    IDR1: ("REL", "QUEUES_PRESET", "TABLES_PRESET", "ECMDQ"),
    IDR3: (
        *("PBHA", "MPAM", "E0PD", "PTWNNC", "DPT", "PASIDTT", "EPAN", "S1PI", "S2PI", "S2PO"),
        *("THE", "MTEPERM", "AIE"),
    ),
    IDR5: ("DS", "D128"),
}
"""Fields that must be 0, as nothing here does what they advertise."""
