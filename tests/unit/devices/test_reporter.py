# SPDX-License-Identifier: GPL-2.0-or-later
"""Sites of what is not modelled: told once, bounded, readable."""

from __future__ import annotations

from smmu_emu.devices.reporter import LIMIT, LIMIT_PER_PC, Reporter, Site


def test_site_is_told_once() -> None:
    reporter = Reporter(lambda: 0x4010_0000)
    for _ in range(3):
        reporter.report("uart", 0x0900_0080, "read")
    reporter.report("uart", 0x0900_0080, "write")
    assert reporter.sites == [
        Site(0x0900_0080, 0x4010_0000, "read", "uart"),
        Site(0x0900_0080, 0x4010_0000, "write", "uart"),
    ]


def test_same_register_from_another_instruction_is_another_site() -> None:
    pcs = iter((0x1000, 0x1004, None))
    reporter = Reporter(lambda: next(pcs))
    for _ in range(3):
        reporter.report("uart", 0x80, "read")
    assert [site.pc for site in reporter.sites] == [0x1000, 0x1004, None]


def test_window_adds_its_base() -> None:
    reporter = Reporter()
    reporter.window("uart", 0x0900_0000)(0x80, "read")
    assert reporter.sites == [Site(0x0900_0080, None, "read", "uart")]


def test_site_reads_as_a_line() -> None:
    assert str(Site(0x80, 0x1000, "read", "uart")) == "uart at 0x80: read (pc 0x1000)"
    assert str(Site(None, None, "access", "mrs x0, HCR_EL2")) == "mrs x0, HCR_EL2: access"


def test_instruction_that_sweeps_memory_has_a_share() -> None:
    reporter = Reporter(lambda: 0x1000)
    for address in range(100):
        reporter.report("nothing", address, "read")
    assert [site.pa for site in reporter.sites] == list(range(LIMIT_PER_PC))
    assert reporter.dropped == 100 - LIMIT_PER_PC


def test_every_device_that_is_swept_over_is_told_of() -> None:
    reporter = Reporter(lambda: 0x1000)
    for device in ("gic", "uart"):
        for address in range(100):
            reporter.report(device, address, "read")
    assert [site.where for site in reporter.sites] == (
        ["gic"] * LIMIT_PER_PC + ["uart"] * LIMIT_PER_PC
    )


def test_list_is_bounded_and_can_be_cleared() -> None:
    reporter = Reporter()
    for address in range(LIMIT + 5):
        reporter.report("nothing", address, "read")
    assert (len(reporter.sites), reporter.dropped) == (LIMIT, 5)
    reporter.clear()
    reporter.report("nothing", 0, "read")
    assert (len(reporter.sites), reporter.dropped) == (1, 0)
