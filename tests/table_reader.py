# SPDX-License-Identifier: GPL-2.0-or-later
"""A second reading of the architecture: where may a transaction land, by the words in memory now?

No caches, no events, no product code: registers and memory in, one physical address or None out. It
is written from IHI 0070 (3.4, 5.1 to 5.5, 6.3) and DDI 0487 (D8.2 to D8.4) for the tests that hold
the SMMU to isolation, and knows stages 1 and 2, substreams, EL2 streams, FWB, small tables and 52
bits, but neither stalls nor hardware updates of flags.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.unit.smmuv3.spec import literals

Read64 = Callable[[int], "int | None"]
PA_BITS = (32, 36, 40, 42, 44, 48, 52, 52)
GRANULE_0 = {0: 12, 1: 16, 2: 14}
GRANULE_1 = {1: 14, 2: 12, 3: 16}
ONES = (1 << 64) - 1


class Access(NamedTuple):
    """A transaction, with its attributes as they are judged."""

    write: bool
    privileged: bool
    instruction: bool


READ = Access(False, True, False)


def decode(masks: literals.Masks, words: list[int]) -> dict[str, int]:
    """Fields of a structure; pointers as addresses."""
    fields = {}
    for name, (number, mask) in masks.items():
        value = words[number] & mask
        pointer = name.endswith(("Ptr", "TTB", "TTB0", "TTB1"))
        fields[name] = value if pointer else value >> (mask & -mask).bit_length() - 1
    return fields


class Leaf(NamedTuple):
    """What a walk found."""

    address: int
    descriptor: int
    tables: int


class TableReader:
    """Reads for one SMMU: ``register`` gives registers by name, ``read64`` physical memory."""

    def __init__(self, register: Callable[[str], int], read64: Read64) -> None:
        self.register = register
        self.read64 = read64
        self.ids: dict[str, int] = {}
        for number in (0, 1, 3, 5):
            value = register(f"IDR{number}")
            for name, mask in literals.REGISTER_FIELDS[f"IDR{number}"].items():
                self.ids[name] = (value & mask) >> (mask & -mask).bit_length() - 1
        self.oas = PA_BITS[self.ids["OAS"]]
        self.ias = max(self.oas, 40) if self.ids["TTF"] & 1 else self.oas
        self.minor = register("AIDR") & 0xF
        self.base_mask = (1 << (52 if self.minor else 48)) - 1

    # -- the way of a transaction

    def lands(self, sid: int, iova: int, access: Access, ssid: int | None = None) -> int | None:
        """Physical address, or None if the transaction must not pass."""
        if not self.register("CR0ACK") & 1:
            abort = self.register("GBPA") >> 20 & 1
            return None if abort or iova >> self.oas else iova
        ste = self._ste(sid)
        if ste is None or not self.ste_legal(ste) or not ste["Config"] & 4:
            return None
        access = self.overridden(ste, access)
        first, second = bool(ste["Config"] & 1), bool(ste["Config"] & 2)
        index = self.cd_index(ste, first, ssid)
        if index is None:
            return None
        if first and index < 0:
            first = False
        if not first:
            if iova >> (self.ias if second else self.oas):
                return None
            return self._stage2(ste, iova, access) if second else iova
        cd = self._cd(ste, index)
        if cd is None or not self.cd_legal(cd, ste):
            return None
        ipa = self._stage1(ste, cd, iova, access)
        if ipa is None or not second:
            return ipa
        return self._stage2(ste, ipa, access)

    def overridden(self, ste: dict[str, int], access: Access) -> Access:
        write, privileged, instruction = access
        if self.ids["ATTR_PERMS_OVR"]:
            privileged = {2: False, 3: True}.get(ste["PRIVCFG"], privileged)
            instruction = {2: False, 3: True}.get(ste["INSTCFG"], instruction)
        return Access(write, privileged, instruction and not write)

    def cd_index(self, ste: dict[str, int], first: bool, ssid: int | None) -> int | None:
        """Index of the CD; -1 where stage 1 is skipped, None where the transaction ends."""
        count_lg2 = ste["S1CDMax"] if first and self.ids["SSIDSIZE"] else 0
        if ssid is not None:
            if not first or not count_lg2 or ssid >> count_lg2:
                return None
            return None if ste["S1DSS"] == 2 and ssid == 0 else ssid
        if not count_lg2:
            return 0
        return {1: -1, 2: 0}.get(ste["S1DSS"])

    # -- structures

    def _words(self, address: int, count: int) -> list[int] | None:
        words = [self.read64(address + 8 * number) for number in range(count)]
        return None if None in words else words  # type: ignore[return-value]

    def _ste(self, sid: int) -> dict[str, int] | None:
        where = self.ste_address(sid)
        words = None if where is None else self._words(where, 8)
        return None if words is None else decode(literals.STE, words)

    def ste_address(self, sid: int) -> int | None:
        """Where a stream's STE lies; None if it has none."""
        config = self.register("STRTAB_BASE_CFG")
        raw = config & 0x3F
        base = self.register("STRTAB_BASE") & 0x00FF_FFFF_FFFF_FFC0
        if sid >> min(raw, self.ids["SIDSIZE"]):
            return None
        if config >> 16 & 3 != 1:
            return (base & -(64 << raw)) + 64 * sid
        split = config >> 6 & 0x1F
        split = split if split in (6, 8, 10) else 6
        base &= -max(64, 8 << max(0, raw - split))
        word = self.read64(base + 8 * (sid >> split))
        if word is None:
            return None
        span = word & 0x1F
        index = sid & (1 << split) - 1
        if not 1 <= span <= min(11, split + 1) or index >> span - 1:
            return None
        table = word & 0x00FF_FFFF_FFFF_FFC0 & -(64 << span - 1)
        return table + 64 * index

    def _cd(self, ste: dict[str, int], index: int) -> dict[str, int] | None:
        count_lg2 = ste["S1CDMax"] if self.ids["SSIDSIZE"] else 0
        pointer = ste["S1ContextPtr"]
        leaf_lg2 = {1: 6, 2: 10}.get(ste["S1Fmt"]) if count_lg2 else None
        if leaf_lg2 is None:
            where: int | None = (pointer & -(64 << count_lg2)) + 64 * index
        else:
            table = pointer & -max(64, 8 << max(0, count_lg2 - leaf_lg2))
            entry = self._table_address(ste, table + 8 * (index >> leaf_lg2))
            word = None if entry is None else self.read64(entry)
            if word is None or not word & 1:
                return None
            leaf = word & 0x00FF_FFFF_FFFF_F000 & -(1 << 12 if leaf_lg2 == 6 else 1 << 16)
            if not ste["Config"] & 2 and leaf >> self.oas:
                return None
            where = leaf + 64 * (index & (1 << leaf_lg2) - 1)
        where = self._table_address(ste, where)
        words = None if where is None else self._words(where, 8)
        return None if words is None else decode(literals.CD, words)

    def _table_address(self, ste: dict[str, int], address: int) -> int | None:
        """Physical address of a CD or a stage-1 descriptor."""
        if not ste["Config"] & 2:
            return address
        return self._stage2(ste, address, READ, table=True)

    # -- legality

    def ste_legal(self, ste: dict[str, int]) -> bool:
        ids, config = self.ids, ste["Config"]
        if not ste["V"]:
            return False
        if not config & 4 or config == 4:
            return True
        first, second = config & 1, config & 2
        strw = ste["STRW"] if ids["Hyp"] and not second else 0
        problems = [
            first and not ids["S1P"],
            second and not ids["S2P"],
            strw & 1,
            ids["S2P"] and not strw and not ids["VMID16"] and ste["S2VMID"] > 0xFF,
            first and ste["S1STALLD"] and ids["STALL_MODEL"],
            first and ids["SSIDSIZE"] and ste["S1CDMax"] > ids["SSIDSIZE"],
            first
            and ids["SSIDSIZE"]
            and ste["S1CDMax"]
            and not ids["CD2L"]
            and ste["S1Fmt"] in (1, 2),
            first and not second and ste["S1ContextPtr"] >> self.oas and self.minor,
            ids["ATS"] and ste["EATS"] == 2 and (config != 7 or ids["NS1ATS"]),
            ids["ATS"] and ste["EATS"] in (1, 2) and second and ste["S2S"],
        ]
        return not any(problems) and not (second and self._stage2_illegal(ste))

    def _stage2_illegal(self, ste: dict[str, int]) -> bool:
        ids = self.ids
        granule = self.granule(GRANULE_0, ste["S2TG"])
        if granule is None or (ste["S2SL0"] == 3 and not (ids["STT"] and granule == 12)):
            return True
        small, large = self._txsz_limits(granule)
        small = max(small if granule < 16 else 12, 64 - self.ias)
        bits = 64 - ste["S2T0SZ"]
        level = self.start_level(ste, granule)
        shortest = (3 - level) * (granule - 3) + granule + 1
        pa_needed = {12: 44, 14: 42, 16: 44}[granule] if ste["S2SL0"] == 2 else 0
        return any(
            (
                not ste["S2AA64"],
                ste["S2ENDI"],
                ste["S2S"] and ids["STALL_MODEL"] == 1,
                not ste["S2S"] and ids["STALL_MODEL"] == 2,
                (ste["S2HA"] or ste["S2HD"]) and not ids["HTTU"],
                ste["S2HD"] and ids["HTTU"] == 1,
                not small <= ste["S2T0SZ"] <= large,
                not shortest <= bits <= shortest + granule - 3 + 3,
                self.oas < pa_needed,
                self._base_too_large(ste["S2TTB"], granule, PA_BITS[ste["S2PS"]]),
            )
        )

    def cd_legal(self, cd: dict[str, int], ste: dict[str, int]) -> bool:
        ids = self.ids
        el2 = self.el2(ste)
        halves = [0] if el2 else [half for half in (0, 1) if not cd[f"EPD{half}"]]
        if not cd["V"] or not cd["AA64"] or (halves and cd["ENDI"]):
            return False
        problems = [
            ids["TERM_MODEL"] and not cd["A"],
            cd["S"] and (ids["STALL_MODEL"] == 1 or ste["S1STALLD"]),
            not cd["S"] and ids["STALL_MODEL"] == 2,
            (cd["HA"] or cd["HD"]) and not ids["HTTU"],
            cd["HD"] and ids["HTTU"] == 1,
            not el2 and not ids["ASID16"] and cd["ASID"] > 0xFF,
        ]
        for half in halves:
            granule = self.granule(GRANULE_1 if half else GRANULE_0, cd[f"TG{half}"])
            if granule is None:
                return False
            small, large = self._txsz_limits(granule)
            problems.append(not small <= cd[f"T{half}SZ"] <= large)
            problems.append(self._base_too_large(cd[f"TTB{half}"], granule, PA_BITS[cd["IPS"]]))
        return not any(problems)

    def granule(self, encoding: dict[int, int], value: int) -> int | None:
        granule = encoding.get(value)
        names = {12: "GRAN4K", 14: "GRAN16K", 16: "GRAN64K"}
        return granule if granule and self.ids[names[granule]] else None

    def _txsz_limits(self, granule: int) -> tuple[int, int]:
        small = 12 if granule == 16 and self.ids["VAX"] else 16
        large = (47 if granule == 16 else 48) if self.ids["STT"] else 39
        return small, large

    def _base_too_large(self, base: int, granule: int, output: int) -> bool:
        limit = min(output, self.oas)
        return bool((base & self.base_mask) >> (min(limit, 48) if granule < 16 else limit))

    def el2(self, ste: dict[str, int]) -> bool:
        """NS-EL2, the world with one table."""
        strw = ste["STRW"] == 2 and self.ids["Hyp"] and ste["Config"] == 5
        return bool(strw and not self.register("CR2") & 1)

    @staticmethod
    def start_level(ste: dict[str, int], granule: int) -> int:
        if granule == 12:
            return {0: 2, 1: 1, 2: 0, 3: 3}[ste["S2SL0"]]
        return 3 - ste["S2SL0"]

    # -- walks

    def _walk(
        self,
        read: Read64,
        base: int,
        granule: int,
        bits: int,
        level: int,
        address: int,
        output: int,
    ) -> Leaf | None:
        """One stage; checks of range and of permissions are the caller's."""
        stride = granule - 3
        wide = granule == 16 and self.oas == 52
        output = min(output, self.oas)
        shift = granule + (3 - level) * stride
        size = 8 << max(0, bits - shift)
        where = base & self.base_mask & -(max(size, 64) if output == 52 else size)
        where += 8 * ((address & (1 << bits) - 1) >> shift)
        tables = 0
        while True:
            word = read(where)
            if word is None or not word & 1:
                return None
            is_table = word & 3 == 3 and level < 3
            block_ok = (granule == 12 and level in (1, 2)) or level == 2
            block_ok = block_ok or (wide and level == 1)
            if not is_table and (word & 3 == 1) != (level < 3):
                return None
            if not is_table and level < 3 and not block_ok:
                return None
            low = granule if is_table else shift
            target = word & 0x0000_FFFF_FFFF_FFFF & -(1 << low)
            if wide:
                target |= (word >> 12 & 0xF) << 48
            if target >> output:
                return None
            if not is_table:
                return Leaf(target | address & (1 << shift) - 1, word, tables)
            tables |= word
            level += 1
            shift -= stride
            where = target + 8 * (address >> shift & (1 << stride) - 1)

    def _stage1(
        self, ste: dict[str, int], cd: dict[str, int], iova: int, access: Access
    ) -> int | None:
        el2 = self.el2(ste)
        half = iova >> 55 & 1
        if el2 and half:
            return None
        if cd[f"TBI{half}"]:
            iova = iova | 0xFF << 56 if half else iova & ~(0xFF << 56)
        if not el2 and cd[f"EPD{half}"]:
            return None
        bits = 64 - cd[f"T{half}SZ"]
        if iova >> bits != (ONES >> bits if half else 0):
            return None
        granule = self.granule(GRANULE_1 if half else GRANULE_0, cd[f"TG{half}"])
        assert granule is not None
        level = 3
        while granule + (4 - level) * (granule - 3) < bits:
            level -= 1

        def read(address: int) -> int | None:
            physical = self._table_address(ste, address)
            return None if physical is None else self.read64(physical)

        leaf = self._walk(read, cd[f"TTB{half}"], granule, bits, level, iova, PA_BITS[cd["IPS"]])
        if leaf is None or not (leaf.descriptor >> 10 & 1 or cd["AFFD"]):
            return None
        tables = 0 if self.ids["HAD"] and cd[f"HAD{half}"] else leaf.tables
        allowed = self.stage1_allows(cd, leaf.descriptor, tables, access, el2)
        return leaf.address if allowed else None

    @staticmethod
    def stage1_allows(
        cd: dict[str, int], descriptor: int, tables: int, access: Access, el2: bool
    ) -> bool:
        """DDI 0487 AArch64.S1DirectBasePermissions, in its own words."""
        read_only = bool(descriptor >> 7 & 1 or tables >> 62 & 1)
        if el2:
            write, execute = not read_only, not (descriptor >> 54 & 1 or tables >> 60 & 1)
            if access.write:
                return write
            return execute and not (cd["WXN"] and write) if access.instruction else True
        user = bool(descriptor >> 6 & 1) and not tables >> 61 & 1
        user_write = user and not read_only
        if access.privileged:
            write = not read_only
            execute = not (descriptor >> 53 & 1 or tables >> 59 & 1 or user_write)
            read = True
            if cd["PAN"] and user:
                read, write_now = False, False
            else:
                write_now = write
        else:
            write = write_now = user_write
            read = user
            execute = not (descriptor >> 54 & 1 or tables >> 60 & 1)
        if access.write:
            return write_now
        if access.instruction:
            return execute and not (cd["WXN"] and write)
        return read

    def _stage2(
        self, ste: dict[str, int], ipa: int, access: Access, *, table: bool = False
    ) -> int | None:
        bits = 64 - ste["S2T0SZ"]
        if ipa >> bits:
            return None
        granule = GRANULE_0[ste["S2TG"]]
        level = self.start_level(ste, granule)
        leaf = self._walk(
            self.read64, ste["S2TTB"], granule, bits, level, ipa, PA_BITS[ste["S2PS"]]
        )
        if leaf is None or not (leaf.descriptor >> 10 & 1 or ste["S2AFFD"]):
            return None
        word = leaf.descriptor
        forced = self.ids["FWB"] and ste["S2FWB"]
        device = (word >> 2 & (7 if forced else 15)) < 4
        if table and ste["S2PTW"] and device:
            return None
        never = word >> 53 & 3
        if self.ids["XNX"]:
            execute = never in (0, 3) if access.privileged else never in (0, 1)
        else:
            execute = never in (0, 1)
        if access.write:
            allowed = bool(word >> 7 & 1)
        elif access.instruction:
            allowed = execute
        else:
            allowed = bool(word >> 6 & 1)
        return leaf.address if allowed else None
