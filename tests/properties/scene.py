# SPDX-License-Identifier: GPL-2.0-or-later
"""Random things that happen to a world of streams, and a reader who judges what lands.

What happens is a list of plain tuples of numbers, so that a failure can be cut down.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from smmu_emu.ats import Completion, PageRequest, Status, TranslationRequest
from smmu_emu.policy import Adversary, Choice
from smmu_emu.policy.delays import LateEffects
from smmu_emu.smmuv3 import IdRegisters
from smmu_emu.transaction import Fault, Transaction, Translation
from tests.properties.history import History
from tests.properties.reader import READ_ONLY, Reader
from tests.properties.streams import (
    ADDRESSES,
    ASIDS,
    CDS,
    COMMAND_QUEUE,
    EVENT_QUEUE,
    FRAMES,
    PRI_QUEUE,
    STREAM_TABLE,
    VMIDS,
    Slot,
    Spot,
    Streams,
)
from tests.table_reader import Access
from tests.unit.smmuv3.rig import AF, RAM, TABLE, get, put
from tests.unit.smmuv3.spec import literals

Operation = tuple[str, int, int, int, int]

MSI = RAM + 0x8_0000
TG = {12: 1, 14: 2, 16: 3}
# fmt: off
WEIGHTS = {
    "dma": 45, "wait": 5, "ask": 5, "translated": 3, "update": 14, "descriptor": 9, "ste": 3,
    "cd": 3, "tlbi": 5, "cfgi": 5, "stalls": 3, "junk": 1, "registers": 3, "page": 1, "msi": 1,
}
# fmt: on


def operations(seed: int, count: int) -> list[Operation]:
    """A list of things that happen."""
    generator = Random(seed)
    names = generator.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
    return [(name, *(generator.getrandbits(64) for _ in range(4))) for name in names]  # type: ignore[misc]


class Scene(Streams):
    """Streams, what happens to them, and a reader who watches."""

    def __init__(self, ids: IdRegisters, seed: int, policy: str = "") -> None:
        super().__init__(ids, seed)
        self._late: LateEffects | None = None
        self._unseen: list[tuple[object, str, dict[str, int]]] = []
        if policy:
            adversary = Adversary(self.smmu, Choice.parse(policy))
            late = [one for one in adversary.policies if isinstance(one, LateEffects)]
            self._late = late[0] if late else None
        self.busy = [self.random.choice(self.sids) for _ in range(3)]
        self.near = [self.random.randrange(len(ADDRESSES)) for _ in range(2)]
        self.landed = self.refused = self.stalled = 0
        self.originals = {slot.where: self.word(slot.where) for slot in self.slots}
        self.memory.history = self.history = History(self.memory.read_u64, self.r)
        self.reader = Reader(self.history, self.sids)
        self._guard_ports()

    def _guard_ports(self) -> None:
        """What the SMMU writes by itself goes where it belongs, and is what it may be."""
        ports = self.smmu.ports
        rings = {
            "event-queue": (EVENT_QUEUE, 32 << self.events_lg2),
            "pri-queue": (PRI_QUEUE, 16 << 3),
            "msi": (MSI, 0x100),
        }
        for name, port in ports.items():
            base, size = rings.get(name, (0, 0))
            port.write = self._guarded(name, base, size, port.write)
        port = ports["walk"]
        update = port.write_u64

        def write_u64(pa: int, value: int) -> bool:
            old = self.memory.read_u64(pa)
            assert self.ids["HTTU"], "flags are updated without HTTU"
            assert old is None or not (old ^ value) & ~(AF | READ_ONLY), "more than flags changes"
            assert old is None or value & AF
            return update(pa, value)

        port.write_u64 = write_u64

    @staticmethod
    def _guarded(
        name: str, base: int, size: int, write: Callable[[int, bytes | memoryview], bool]
    ) -> Callable[[int, bytes | memoryview], bool]:
        def guarded(pa: int, data: bytes | memoryview) -> bool:
            assert base <= pa <= base + size - len(data), f"{name} writes at {pa:#x}"
            return write(pa, data)

        return guarded

    # -- what happens

    def step(self, operation: Operation) -> None:
        """One thing, judged."""
        self.history.begin()
        self._let_time_pass()
        getattr(self, "_do_" + operation[0])(*operation[1:])

    def _let_time_pass(self) -> None:
        """Effects of commands may come late; what is late is not forgotten before it comes."""
        clock = self.smmu.clock
        clock.advance(clock.now + 500)
        if self._late is None:
            return
        pending = {id(effect) for effect, _ in self._late.pending}
        for effect, name, fields in self._unseen:
            if id(effect) not in pending:
                self.history.consumed(name, fields)
        self._unseen = [one for one in self._unseen if id(one[0]) in pending]

    def _address(self, number: int, spread: int) -> int:
        choice = number % 16
        if choice < 9:
            base = ADDRESSES[self.near[choice % 2]]
        else:
            base = (*ADDRESSES, *FRAMES)[(number >> 8) % (len(ADDRESSES) + len(FRAMES))]
        offset = (0, 8, 0xFFF, 0, 8, 0x1000, 0x3FFF, 0x1_0000, spread % (1 << 21))[spread % 9]
        tag = spread >> 32 & 0xFF if spread >> 40 & 7 == 0 else base >> 56
        return (base + offset & (1 << 56) - 1) | tag << 56

    def _stream(self, who: int) -> int:
        """Some streams are busier than others."""
        return self.busy[who >> 8 & 1] if who & 3 else (who >> 8) % len(self.sids)

    def _transaction(self, who: int, where: int, spread: int, how: int) -> Transaction:
        sid = self._stream(who)
        rare = 0x30 if sid in self.with_substreams else 0x1F0
        ssid = how >> 12 & 3 if self.ids["SSIDSIZE"] and how & rare == 0 else None
        kind = (bool(how & 1), bool(how & 2), bool(how & 12 == 12))
        return Transaction(sid, self._address(where, spread), *kind, ssid)

    def _do_dma(self, who: int, where: int, spread: int, how: int) -> None:
        transaction = self._transaction(who, where, spread, how)
        self._judge(transaction, self.smmu.translate(transaction))

    def _do_wait(self, who: int, where: int, spread: int, how: int) -> None:
        transaction = self._transaction(who, where, spread, how)
        result = self.smmu.submit(transaction, lambda late: self._judge(transaction, late))
        if isinstance(result, Translation) or result.stag is None:
            self._judge(transaction, result)
        else:
            self.stalled += 1

    def _judge(self, transaction: Transaction, result: Translation | Fault) -> None:
        if isinstance(result, Fault):
            self.refused += 1
            return
        self.landed += 1
        sid, iova, write, privileged, instruction, ssid = transaction
        access = Access(write, privileged, instruction)
        self._allowed(sid, ssid, iova, access, result.pa)
        inside = (1 << min(result.size_lg2, 55)) - 1
        if inside > 0xFFF and transaction.iova & 0x38 == 8:  # elsewhere in the same block
            other = iova ^ (iova * 0x9E37_79B9_7F4A_7C15 & inside & ~7)
            self._allowed(sid, ssid, other, access, result.pa & ~inside | other & inside)

    def _allowed(self, sid: int, ssid: int | None, iova: int, access: Access, pa: int) -> None:
        assert self.reader.allows(sid, ssid, iova, access, pa), (
            f"stream {sid} substream {ssid} {iova:#x} {access} lands at {pa:#x}"
        )

    def _do_ask(self, who: int, where: int, spread: int, how: int) -> None:
        """A translation request."""
        sid, iova, write, privileged, execute, ssid = self._transaction(who, where, spread, how)
        request = TranslationRequest(sid, iova, not write, ssid, execute, privileged)
        completion = self.smmu.ats.request(request)
        if completion.status is not Status.SUCCESS:
            self.refused += 1
            return
        self._judge_completion(request, completion)

    def _judge_completion(self, request: TranslationRequest, completion: Completion) -> None:
        inside = (1 << completion.size_lg2) - 1
        where = completion.address & ~inside | request.address & inside
        privileged = request.privileged and request.substream_id is not None
        for granted, access in (
            (completion.read, Access(False, privileged, False)),
            (completion.write, Access(True, privileged, False)),
            (completion.execute, Access(False, privileged, True)),
        ):
            if granted:
                self.landed += 1
                told = (request.stream_id, request.substream_id, request.address, access, where)
                assert self.reader.allows(*told) or self.reader.allows_intermediate(*told), (
                    f"{request} is granted {completion}"
                )

    def _do_translated(self, who: int, where: int, spread: int, how: int) -> None:
        transaction = self._transaction(who, where, spread, how)
        transaction = transaction._replace(iova=transaction.iova & (1 << 40) - 1, substream_id=None)
        result = self.smmu.ats.translated(transaction)
        if isinstance(result, Fault):
            self.refused += 1
            return
        self.landed += 1
        sid, address, write, _, _, _ = transaction
        access = Access(write, False, False)  # without a PASID it is unprivileged data (13.7)
        assert self.reader.allows_translated(sid, address, access, result.pa), (
            f"{transaction} passes to {result.pa:#x}"
        )

    def _do_page(self, who: int, where: int, spread: int, how: int) -> None:
        """A page request: it moves no data, but it is written somewhere."""
        if self.ids["PRI"]:
            sid, address, write, *_ = self._transaction(who, where, spread, how)
            self.smmu.ats.page_request(PageRequest(sid, address, how % 512, True, write))
            self.w("PRIQ_CONS", self.r("PRIQ_PROD"))

    # -- software that changes its mind

    def _do_descriptor(self, number: int, what: int, bits: int, other: int) -> None:
        where, _, level, granule = self.slots[number % len(self.slots)]
        word = self.word(where)
        changes = (
            word ^ 1 << bits % 64,
            word ^ 1 << (6, 7, 10, 11, 51, 53, 54, 1, 0, 61)[bits % 10],
            0,
            self.originals[where],
            self.originals[where],
            self.word(self.slots[other % len(self.slots)].where),
            word & ~(FRAMES[0] | 0xFF_FFFF_F000) | FRAMES[other % len(FRAMES)] & -(1 << granule),
            self._own_table(other, granule) | TABLE if level < 3 else word,
        )
        self.write64(where, changes[what % len(changes)])

    def _own_table(self, number: int, granule: int) -> int:
        return self.slots[number % len(self.slots)].where & -(1 << granule)

    def _do_update(self, number: int, what: int, which: int, how: int) -> None:
        """An access, a change that the SMMU is told of rightly, and another access."""
        spot = self.spots[number % len(self.spots)]
        self._visit(spot, how)
        slot = spot.slot
        if spot.world == "nested" and what & 1:
            slot = self._behind(spot) or slot
        word = self.word(slot.where)
        frame = FRAMES[which % len(FRAMES)] & -(
            1 << slot.granule + (3 - slot.level) * (slot.granule - 3)
        )
        offset = word & ~0xFFFF_FFFF_F000 | frame
        self.history.begin()
        self.write64(slot.where, (offset, offset, word ^ 0x80, 0)[what >> 8 & 3])
        for name in self._telling(spot, slot, what >> 16):
            self.history.begin()
            self._tell(name, spot, slot, what >> 32)
        self.history.begin()
        self._visit(spot, how >> 8)

    def _visit(self, spot: Spot, how: int) -> None:
        offset = (0, 8, 0xFFF, 0)[how >> 4 & 3]
        kind = (bool(how & 1), bool(how & 2), bool(how & 12 == 12))
        transaction = Transaction(spot.sid, spot.slot.address + offset, *kind, spot.ssid)
        self._judge(transaction, self.smmu.translate(transaction))

    def _behind(self, spot: Spot) -> Slot | None:
        """The leaf of stage 2 that a nested stream's address goes through."""
        ipa = self.word(spot.slot.where) & 0xFFFF_FFFF_F000
        slots = self.behind.get(spot.vmid, [])
        return next((slot for slot in slots if slot.address & ~0xFFFF == ipa & ~0xFFFF), None)

    def _telling(self, spot: Spot, slot: Slot, which: int) -> list[str]:
        """Commands that together reach what a leaf was cached as."""
        if spot.world == "el2":
            return [("TLBI_EL2_VA", "TLBI_EL2_ALL", "TLBI_EL2_VAA")[which % 3]]
        own = slot is spot.slot
        if spot.world == "s1" or (spot.world == "nested" and own):
            names = ("TLBI_NH_VA", "TLBI_NH_VA", "TLBI_NH_VAA", "TLBI_NH_ALL", "TLBI_S12_VMALL")
            return [(*names, "TLBI_NH_ASID")[which % 6]]
        both = ["TLBI_S2_IPA", "TLBI_NH_ALL"] if spot.world == "nested" else ["TLBI_S2_IPA"]
        return [both, both, both, ["TLBI_S12_VMALL"], ["TLBI_NSNH_ALL"]][which % 5]

    def _tell(self, name: str, spot: Spot, slot: Slot, how: int) -> None:
        """One of them, for one address or for a range that has it somewhere."""
        fields = {"VMID": spot.vmid, "ASID": spot.asid, "Address": slot.address & ~0xFFF}
        fields |= {"TG": 0, "TTL": 0, "NUM": 0, "SCALE": 0}
        if how & 1:
            scale, count = how >> 8 & 3, 1 + (how >> 16 & 7)
            size = 1 << slot.granule + scale
            first = slot.address - (how >> 24) % count * size & -size
            ttl = slot.level if how & 2 and (slot.granule, slot.level) != (14, 1) else 0
            if 0 <= first < 1 << 64 and (count > 1 or scale or ttl):
                ranged = {"TG": TG[slot.granule], "TTL": ttl, "NUM": count - 1, "SCALE": scale}
                fields |= {**ranged, "Address": first}
        word = put(literals.TLBI, Opcode=literals.OPCODES[name], **fields)
        self._command(name, word, self._as_executed(fields))

    def _do_ste(self, who: int, what: int, bits: int, other: int) -> None:
        at = STREAM_TABLE + 64 * (self._stream(who))
        self._damage(at, STREAM_TABLE + 64 * (other % len(self.sids)), literals.STE, what, bits)

    def _do_cd(self, who: int, what: int, bits: int, other: int) -> None:
        at, from_ = (
            CDS + 0x400 * (n % len(self.sids)) + 64 * (n >> 32 & 3)
            for n in (self._stream(who) | who >> 32 << 32, other)
        )
        self._damage(at, from_, literals.CD, what, bits)

    def _damage(self, at: int, other: int, masks: literals.Masks, what: int, bits: int) -> None:
        """Take another's structure, go back to the first one, or change a field."""
        before = self.originals.setdefault(
            at, int.from_bytes(self.memory.read(at, 64) or b"", "little")
        )
        if what % 4 == 0:
            self.store(at, before, 64)
        elif what % 4 == 1:
            self.memory.write(at, self.memory.read(other, 64) or b"")
        else:
            number, mask = masks[sorted(masks)[what // 4 % len(masks)]]
            word = self.word(at + 8 * number)
            small = (bits % 8 << (mask & -mask).bit_length() - 1) & mask
            self.write64(at + 8 * number, word & ~mask | (small if bits & 16 else bits & mask))

    # -- commands

    def _command(self, name: str, word: int, fields: dict[str, int]) -> None:
        before = len(self._late.pending) if self._late is not None else 0
        self.push(word)
        if self.command_error is None:
            if self._late is not None and len(self._late.pending) > before:
                self._unseen.append((self._late.pending[-1][0], name, fields))
            else:
                self.history.consumed(name, fields)
            return
        size = 1 << self.commands_lg2
        bad = self.r("CMDQ_CONS") & size - 1
        self.store(COMMAND_QUEUE + 16 * bad, literals.OPCODES["SYNC"], 16)
        self.w("GERRORN", self.r("GERROR"))

    def _do_tlbi(self, what: int, tags: int, where: int, spread: int) -> None:
        names = sorted(name for name in literals.OPCODES if name.startswith("TLBI"))
        name = names[what % len(names)]
        if what >> 32 & 1:
            name = ("TLBI_NH_VA", "TLBI_NH_VAA", "TLBI_S2_IPA", "TLBI_EL2_VA")[what >> 33 & 3]
        ranged = spread >> 20 & 1
        fields = {
            "VMID": VMIDS[tags % 3],
            "ASID": ASIDS[tags >> 8 & 1],
            "Address": self._address(where, spread) & ~0xFFF,
            "TG": tags >> 16 & 3 if ranged else 0,
            "TTL": tags >> 18 & 3 if ranged else 0,
            "NUM": tags >> 20 & 7 if ranged else 0,
            "SCALE": tags >> 24 & 7 if ranged else 0,
        }
        word = put(literals.TLBI, Opcode=literals.OPCODES[name], **fields)
        self._command(name, word, self._as_executed(fields))

    def _as_executed(self, fields: dict[str, int]) -> dict[str, int]:
        """Without ranges and stage 2 some fields are ignored."""
        if not self.ids["RIL"]:
            fields = {**fields, "TG": 0}
        return fields if self.ids["S2P"] else {**fields, "VMID": 0}

    def _do_cfgi(self, what: int, who: int, which: int, size: int) -> None:
        name = ("CFGI_STE", "CFGI_CD", "CFGI_CD_ALL", "CFGI_STE_RANGE")[what % 4]
        fields = {"StreamID": self._stream(who)}
        masks = literals.CFGI
        if name == "CFGI_CD":
            fields["SubstreamID"] = which & 3 if self.ids["SSIDSIZE"] else 0
        if name == "CFGI_STE_RANGE":
            masks, fields["Range"] = literals.CFGI_RANGE, size % 4 if size & 64 else 31
        self._command(name, put(masks, Opcode=literals.OPCODES[name], **fields), fields)

    def _do_stalls(self, what: int, who: int, tag: int, how: int) -> None:
        """RESUME with a tag that may exist, or STALL_TERM."""
        sid = self._stream(who)
        if what % 4:
            held = sorted(self.smmu.stalls.held)
            number = held[tag % len(held)] if held and tag & 7 else tag & 7
            if number in self.smmu.stalls.held and how & 4:
                sid = self.smmu.stalls.held[number].transaction.stream_id
            word = put(
                *(literals.RESUME,),
                Opcode=literals.OPCODES["RESUME"],
                StreamID=sid,
                STAG=number,
                Ac=how & 1,
                Ab=how >> 1 & 1,
            )
            self._command("RESUME", word, {})
        else:
            word = put(literals.STALL_TERM, Opcode=literals.OPCODES["STALL_TERM"], StreamID=sid)
            self._command("STALL_TERM", word, {})

    def _do_junk(self, low: int, high: int, *_: int) -> None:
        """Any 128 bits."""
        word = low | high << 64
        names = {code: name for name, code in literals.OPCODES.items()}
        name = names.get(word & 0xFF, "")
        fields: dict[str, int] = {}
        if name.startswith("TLBI"):
            fields = self._as_executed(get(literals.TLBI, word))
        elif name == "CFGI_STE_RANGE":
            fields = get(literals.CFGI_RANGE, word)
        elif name.startswith("CFGI"):
            fields = get(literals.CFGI, word)
        if name not in ("SYNC", "CFGI_CD"):  # one of them may write, the other name no CD
            self._command(name, word, fields)

    # -- registers

    def _do_registers(self, what: int, number: int, value: int, _: int) -> None:
        """Turn the SMMU off and on, choose what happens while it is off, read anything."""
        names = sorted(literals.REGISTERS)
        self.smmu.read(*literals.REGISTERS[names[number % len(names)]])
        if what % 3 == 0:
            self.w("CR0", self.enabled if value & 1 else self.enabled & ~1)
        elif what % 3 == 1:
            self.w("GBPA", 1 << 31 | (value & 1) << 20 | value & 0xFFF)
        else:
            self.w("EVENTQ_CONS", self.r("EVENTQ_PROD"))
        self.history.registers_written()
        if what % 3 == 0 and value & 6 and not self.r("CR0ACK") & 1:
            self.w("CR0", self.enabled)
            self.history.registers_written()

    def _do_msi(self, what: int, where: int, data: int, _: int) -> None:
        """Interrupts by message, into a page of their own."""
        if self.ids["MSI"]:
            self.w("IRQ_CTRL", 0)
            self.w("EVENTQ_IRQ_CFG0", MSI + 4 * (where % 64) if what & 1 else 0)
            self.w("EVENTQ_IRQ_CFG1", data & 0xFFFF_FFFF)
            self.w("IRQ_CTRL", 7)
