# SPDX-License-Identifier: GPL-2.0-or-later
"""What an operating system made of an SMMU: its domains, what they map now, how it invalidated.

A domain is one set of tables: an ASID, a VMID, or both. Its streams are those whose transactions
met it. Mappings are counted by walking the tables as they are now in memory, with the readers of
`pgtable.inspect`, which share nothing with the SMMU's walker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pgtable.inspect import Image, InspectError, Space, Tree, read
from smmu_emu.smmuv3.spec.command import Opcode

if TYPE_CHECKING:
    from smmu_emu.machine import Machine
    from smmu_emu.smmuv3.context import Context
    from smmu_emu.walk.long_descriptor import Root

_ADDRESS = (Opcode.TLBI_NH_VA, Opcode.TLBI_NH_VAA, Opcode.TLBI_S2_IPA)
_EL2_ADDRESS = (Opcode.TLBI_EL2_VA, Opcode.TLBI_EL2_VAA)
KINDS = {
    "by address": (*_ADDRESS, *_EL2_ADDRESS),
    "of an ASID": (Opcode.TLBI_NH_ASID, Opcode.TLBI_EL2_ASID),
    "of a VMID": (Opcode.TLBI_NH_ALL, Opcode.TLBI_S12_VMALL),
    "of everything": (Opcode.TLBI_NSNH_ALL, Opcode.TLBI_EL2_ALL),
    "of endpoints": (Opcode.ATC_INV,),
    "of configuration": (
        *(Opcode.CFGI_STE, Opcode.CFGI_STE_RANGE, Opcode.CFGI_CD, Opcode.CFGI_CD_ALL),
        Opcode.CFGI_VMS_PIDM,
    ),
}
"""Invalidations by what they reach."""
_UNITS = ((30, "G"), (20, "M"), (10, "K"))
_OUTSIDE_SHOWN = 4


class Mapped(NamedTuple):
    """What one set of tables maps: bytes by size of leaf, and what is not RAM, by name."""

    stage: int
    sizes: dict[int, int]
    read_only: int
    table_bytes: int
    outside: dict[str, int]
    problems: int

    def __str__(self) -> str:
        leaves = [f"{size // leaf:,} x {_size(leaf)}" for leaf, size in self.sizes.items()]
        words = [f"maps {' + '.join(leaves) or 'nothing'}"]
        if len(self.sizes) > 1 or any(size != leaf for leaf, size in self.sizes.items()):
            words[0] += f" = {_size(sum(self.sizes.values()))}"
        if self.read_only:
            words.append(f"{_size(self.read_only)} of it read-only")
        words += [f"{_size(size)} of it {name}" for name, size in self.outside.items()]
        if self.problems:
            words.append(f"{self.problems} problems in the tables")
        return f"{', '.join(words)}; {_size(self.table_bytes)} of tables"


class Domain(NamedTuple):
    """One set of tables, and the streams (with SubstreamIDs) that use it."""

    name: str
    users: tuple[tuple[int, int | None], ...]
    mapped: tuple[Mapped, ...]

    def lines(self) -> Iterator[str]:
        """For people."""
        users = [f"{s:#x}" if ssid is None else f"{s:#x}/{ssid:#x}" for s, ssid in self.users]
        who = f"{self.name}, stream{'s' if len(users) > 1 else ''} {', '.join(users)}"
        yield from (f"{who}: {mapped}" for mapped in self.mapped)


class DomainReport:
    """The part of a report that tells of domains; a picture of now."""

    def __init__(
        self,
        machine: Machine,
        contexts: Mapping[tuple[int, int | None], Context],
        commands: Mapping[int, int],
    ) -> None:
        self._machine = machine
        self._image = Image([(ram.base, ram.view) for ram in machine.memory.rams])
        self.domains = list(self._find(contexts))
        self.invalidations = {
            kind: count
            for kind, opcodes in KINDS.items()
            if (count := sum(commands.get(opcode, 0) for opcode in opcodes))
        }

    def _find(self, contexts: Mapping[tuple[int, int | None], Context]) -> Iterator[Domain]:
        found: dict[str, list[tuple[int, int | None]]] = {}
        examples: dict[str, Context] = {}
        for user, context in sorted(contexts.items(), key=lambda item: (item[0][0], str(item[0]))):
            name = _name(context)
            if name is not None:
                found.setdefault(name, []).append(user)
                examples[name] = context
        for name, users in found.items():
            yield Domain(name, tuple(users), tuple(self._mapped(examples[name])))

    def _mapped(self, context: Context) -> Iterator[Mapped]:
        """A guest's stage 1 lies at the guest's addresses, and is not walked."""
        if context.stage1 is not None and context.stage2 is None:
            for number, half in enumerate(context.stage1.halves):
                if half is not None:
                    yield self._count(half, 1, upper=number == 1)
        if context.stage2 is not None:
            yield self._count(context.stage2.root, 2)

    def _count(self, root: Root, stage: int, *, upper: bool = False) -> Mapped:
        try:
            tree = read(_space(root, stage, upper), self._image)
        except InspectError:  # tables that hardware takes and this reader does not
            return Mapped(stage, {}, 0, 0, {}, 1)
        read_only = sum(part.size for part in tree.ranges() if not part.meaning.writable)
        outside = self._outside(tree) if stage == 1 else {}
        problems = sum(finding.severity == "error" for finding in tree.findings)
        return Mapped(stage, tree.sizes(), read_only, tree.table_bytes, outside, problems)

    def _outside(self, tree: Tree) -> dict[str, int]:
        """Bytes that lead to something that is not RAM, by its name."""
        found: dict[str, int] = {}
        memory = self._machine.memory
        for part in tree.ranges():
            block = memory.find(part.address)
            if block is None or block not in memory.rams:
                name = "nowhere" if block is None else getattr(block, "name", "RAM")
                found[name] = found.get(name, 0) + part.size
        return dict(list(found.items())[:_OUTSIDE_SHOWN])

    # -- a part of a report

    def lines(self) -> Iterator[str]:
        """For people."""
        for number, line in enumerate(line for domain in self.domains for line in domain.lines()):
            yield f"{'domains' if number == 0 else '':<15}{line}"
        if self.invalidations:
            counts = ", ".join(f"{count:,} {kind}" for kind, count in self.invalidations.items())
            yield f"invalidations  {counts}"

    def complaints(self) -> Iterator[str]:
        """Nothing here is wrong."""
        return iter(())

    def as_dict(self) -> dict[str, Any]:
        """Plain data; sizes are in bytes."""
        return {
            "list": [
                {
                    "name": domain.name,
                    "streams": [
                        {"stream_id": sid, "substream_id": ssid} for sid, ssid in domain.users
                    ],
                    "mapped": [
                        mapped._asdict() | {"sizes": {str(k): v for k, v in mapped.sizes.items()}}
                        for mapped in domain.mapped
                    ],
                }
                for domain in self.domains
            ],
            "invalidations": self.invalidations,
        }


def _name(context: Context) -> str | None:
    """What tells a domain from others; None where nothing is translated."""
    words = []
    if context.stage1 is not None:
        asid = getattr(context.stage1.own.tag, "asid", None)
        words.append("no ASID" if asid is None else f"ASID {asid}")
    if context.stage2 is not None:
        words.append(f"VMID {context.stream.vmid}")
    return " in ".join(words) or None


def _space(root: Root, stage: int, upper: bool) -> Space:
    return Space(
        format=f"ARM_64_LPAE_S{stage}",
        root=root.table,
        granule=1 << root.granule_lg2,
        input_bits=root.input_bits,
        output_bits=root.output_bits,
        start_level=root.start_level if stage == 2 else -1,
        upper=upper,
    )


def _size(size: int) -> str:
    for shift, unit in _UNITS:
        if size >> shift and not size & (1 << shift) - 1:
            return f"{size >> shift:,}{unit}"
    return f"{size:,}"
