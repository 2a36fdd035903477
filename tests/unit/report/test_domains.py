# SPDX-License-Identifier: GPL-2.0-or-later
"""The report of domains: who uses them, what they map now, how they were invalidated."""

from __future__ import annotations

import json

from pgtable import Arena, Prot
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.machine import Machine
from smmu_emu.report.domains import KINDS, DomainReport
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.spec.command import Opcode
from smmu_emu.trace.contexts import ContextLog

TARGET = 0x5000_0000
MESSAGES = 0x0802_0000


class Scene:
    """A machine, a driver, and a log of contexts."""

    def __init__(self) -> None:
        self.machine = Machine.virt(devices=(), smmu_ids=PRESETS["full"])
        self.log = ContextLog(self.machine.smmu)
        arena = Arena(0x4800_0000, 16 << 20, self.machine.ram.view[0x800_0000:])
        self.driver = Smmuv3Driver(self.machine.smmu, arena)

    def use(self, stream_id: int, iova: int) -> None:
        self.machine.dma(stream_id).read(iova, 4)

    def report(self) -> DomainReport:
        commands = self.machine.smmu.commands.consumed
        return DomainReport(self.machine, self.log.latest, commands)


def test_nobody_used_anything() -> None:
    report = Scene().report()
    assert report.domains == []
    assert not any(line.startswith("domains") for line in report.lines())


def test_domain_is_counted_from_its_tables_as_they_are_now() -> None:
    scene = Scene()
    domain = scene.driver.domain()
    domain.map(0x1000, TARGET, 0x3000)
    domain.map(0x40_0000, TARGET, 0x20_0000)
    domain.map(0x10_0000, TARGET, 0x1000, Prot.READ)
    domain.map(0x20_0000, MESSAGES, 0x1000)
    scene.driver.attach(0x8, domain)
    scene.driver.attach(0x10, domain)
    scene.use(0x10, 0x1000)
    scene.use(0x8, 0x1000)
    (found,) = scene.report().domains
    assert found.users == ((0x8, None), (0x10, None))
    (mapped,) = found.mapped
    assert mapped.sizes == {0x1000: 5 * 0x1000, 0x20_0000: 0x20_0000}
    assert mapped.read_only == 0x1000
    assert mapped.outside == {"gic v2m": 0x1000}
    assert mapped.problems == 0
    (line,) = found.lines()
    assert line.endswith(
        "streams 0x8, 0x10: maps 5 x 4K + 1 x 2M = 2,068K, 4K of it read-only, "
        "4K of it gic v2m; 20K of tables"
    )
    domain.unmap(0x1000, 0x3000)
    assert scene.report().domains[0].mapped[0].sizes[0x1000] == 2 * 0x1000


def test_guest_is_counted_by_its_hosts_tables() -> None:
    scene = Scene()
    host = scene.driver.stage2()
    host.map(0x10_0000_0000, TARGET, 1 << 20)
    memory = Arena(0x10_0000_0000, 1 << 20, scene.machine.ram.view[0x1000_0000:])
    guest = scene.driver.guest(host, memory)
    guest.map(0x1000, 0x10_000F_0000, 0x1000)
    scene.driver.attach(0x8, guest)
    scene.use(0x8, 0x1000)
    (found,) = scene.report().domains
    assert " in VMID " in found.name
    (mapped,) = found.mapped  # of the host: the guest's tables are at the guest's addresses
    assert (mapped.stage, sum(mapped.sizes.values()), mapped.problems) == (2, 1 << 20, 0)


def test_invalidations_are_told_by_what_they_reach() -> None:
    scene = Scene()
    domain = scene.driver.domain()
    domain.map(0x1000, TARGET, 0x1000)
    scene.driver.attach(0x8, domain)
    scene.use(0x8, 0x1000)
    domain.unmap(0x1000, 0x1000)
    scene.driver.detach(0x8)
    domain.close()
    invalidations = scene.report().invalidations
    assert invalidations["by address"] == 1
    assert invalidations["of an ASID"] >= 1
    assert invalidations["of configuration"] >= 2
    assert list(scene.report().lines())[-1].startswith("invalidations  1 by address, ")


def test_every_invalidation_has_a_kind() -> None:
    known = {opcode for opcodes in KINDS.values() for opcode in opcodes}
    wanted = {
        o for o in Opcode if o.name.startswith(("TLBI", "CFGI", "ATC")) and "EL3" not in o.name
    }
    assert known == wanted


def test_plain_data_is_plain() -> None:
    scene = Scene()
    domain = scene.driver.domain()
    domain.map(0x1000, TARGET, 0x1000)
    scene.driver.attach(0x8, domain)
    scene.use(0x8, 0x1000)
    plain = json.loads(json.dumps(scene.report().as_dict()))
    (found,) = plain["list"]
    assert found["streams"] == [{"stream_id": 8, "substream_id": None}]
    assert found["mapped"][0]["sizes"] == {"4096": 4096}
    assert plain["invalidations"]["of configuration"] >= 1


def test_tables_that_are_elsewhere_are_a_problem_and_no_exception() -> None:
    scene = Scene()
    domain = scene.driver.domain()
    domain.map(0x1000, TARGET, 0x1000)
    scene.driver.attach(0x8, domain)
    scene.use(0x8, 0x1000)
    context = scene.log.latest[0x8, None]
    half = context.stage1.halves[0]
    assert half is not None
    damaged = half._replace(table=0x9000_0000)
    context.stage1 = context.stage1._replace(halves=(damaged, None))
    (found,) = scene.report().domains
    assert found.mapped[0].problems >= 1
    assert "problems in the tables" in next(found.lines())
