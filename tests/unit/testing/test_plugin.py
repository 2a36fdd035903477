# SPDX-License-Identifier: GPL-2.0-or-later
"""The pytest plugin, as a project that installed the package has it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

# pytester forgets modules that a run brings; these can be loaded once a process.
for module in ("numpy", "unicorn", "smmu_emu.testing", "smmu_emu.driver"):
    import_module(module)

IMAGES = Path(__file__).resolve().parents[3] / "firmware" / "images"
pytest_plugins = ["pytester"]

_HEAD = """
import pytest
from smmu_emu.inject import *

def mapped(driver):
    domain = driver.domain()
    domain.map(0x1000, 0x5000_0000, 0x2000)
    driver.attach(8, domain)
    return domain
"""


def _run(pytester: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(_HEAD + test)
    return pytester.runpytest("--strict-markers", "-p", "no:randomly", *options)


def test_fixtures_are_there_without_configuration(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
def test_it(machine, driver, inject):
    mapped(driver)
    inject("walk-read", Abort(), nth=3, stream=8)
    dma = machine.dma(8)
    assert not dma.write(0x1000, b"x")
    assert machine.events.names == ["F_WALK_EABT"]
    assert machine.events.one("F_WALK_EABT", stream=8).iova == 0x1000
    assert dma.write(0x1000, b"x")
    machine.assert_isolated()
    machine.allow(9, 0, 0x1000)
""",
    )
    result.assert_outcomes(passed=1)


def test_fault_that_never_fired_makes_the_test_invalid(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
def test_it(machine, driver, inject):
    mapped(driver)
    inject("walk-read", Abort(), address=(0x5000, 0x6000))
    assert machine.dma(8).write(0x1000, b"x")
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*InvalidTestError: invalid, not passed: walk-read abort never fired: 4 walk-read "
            "seen, address 0x48008000-*; none in 0x5000-0x6000, nearest 0x48008000*"
        ]
    )


def test_failure_shows_the_trace_and_how_to_see_it_again(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
def test_it(machine, driver, inject):
    mapped(driver)
    inject("tlb-entry", Flip((12,)), nth=2)
    machine.dma(8).write(0x1000, b"abc")
    machine.dma(8).write(0x1000, b"abc")
    machine.assert_isolated()
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*1 breaches of isolation:",
            "*stream 0x8 wrote 3 bytes at pa 0x50001000 through iova 0x1000: it is mapped to "
            "0x50000000 (by dma 0x8 at 0 ns)",
            "*smmu-emu: what happened last*",
            "injected       tlb-entry flip 1",
            "*walk *stage 1 stream 0x8 0x1000:*page 0x50000000*",
            "*injected*tlb-entry flip*0x50000000 -> 0x50001000*",
            "*access*stream 0x8 0x1000 write -> 0x50001000 hit #3  by *:* in test_it",
            "*smmu-emu: see it again*",
            "pytest *::test_it",
            'site = "tlb-entry"',
            'effect = { kind = "flip", bits = [[]12] }',
        ]
    )


def test_trace_can_be_left_out(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
def test_it(machine, driver):
    machine.dma(9).write(0x1000, b"abc")
    assert machine.events == []
""",
        "--smmu-trace=0",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*smmu-emu: what happened last*", "  C_BAD_STE stream 0x9*"])
    result.stdout.no_fnmatch_line("*config-fetch*")


def test_markers_choose_options_policies_and_seeds(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
from smmu_emu.smmuv3 import PRESETS

@pytest.mark.machine(smmu_ids=PRESETS["full"], ram=64 << 20)
def test_options(machine):
    assert machine.ram.size == 64 << 20
    assert machine.smmu.ids.features.ATS

@pytest.mark.policies("forget", "evict")
@pytest.mark.seeds(2)
def test_policies(machine, driver, policy, seed):
    assert str(machine.adversary.choice) == f"{policy},seed={seed}"
    mapped(driver)
    assert machine.dma(8).write(0x1000, b"x")

def test_neither(machine, policy, seed):
    assert (machine.adversary, policy, seed) == (None, None, 0)
""",
        "-v",
    )
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*test_policies?*evict*seed-1*PASSED*"])


def test_image_is_loaded_and_booted_once(pytester: pytest.Pytester) -> None:
    image = IMAGES / "dma_pages.elf"
    result = _run(
        pytester,
        f"""
@pytest.mark.image("{image}")
def test_loaded(machine):
    assert machine.run().status == 0

@pytest.mark.image("{image}", until="walks start")
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_booted(machine, inject, nth):
    before = machine.core.instructions
    assert b"walks start" in machine.output
    assert before > 10_000
    inject("walk-read", Abort(), nth=nth)
    machine.allow(8, 0, 1 << 48)
    assert machine.run().status == 1
    assert machine.events.names == ["F_WALK_EABT"]
    machine.assert_isolated()

@pytest.mark.image("{image}", until="walks start")
def test_fresh_again(machine):
    assert machine.run().status == 0
    assert machine.events == []
    with pytest.raises(AssertionError, match="nothing says what DMA may do|breaches"):
        machine.assert_isolated()
""",
    )
    result.assert_outcomes(passed=5)


def test_image_that_does_not_get_there_is_told(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        f"""
@pytest.mark.image("{IMAGES / "hello.elf"}", until="never")
def test_it(machine):
    pass
""",
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*AssertionError: 'never' was never printed; the guest exited*"])


def test_plans_from_files_are_run_again_by_the_command_line(pytester: pytest.Pytester) -> None:
    (pytester.path / "plan.toml").write_text('[[fault]]\nsite = "walk-read"\neffect = "abort"\n')
    result = _run(
        pytester,
        f"""
@pytest.mark.image("{IMAGES / "dma_pages.elf"}")
def test_it(machine, inject):
    inject("plan.toml")
    assert machine.run().status == 0
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["smmu-emu run *dma_pages.elf --inject plan.toml *"])


def test_events_tell_what_there_was(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
def test_it(machine, driver):
    machine.dma(9).write(0x1000, b"abc")
    machine.events.one("F_TRANSLATION", stream=9)
""",
    )
    result.stdout.fnmatch_lines(
        ["*0 events F_TRANSLATION stream=9, not one. There were:", "*C_BAD_STE stream 0x9*"]
    )


def test_plugin_loads_nothing_before_a_test_asks(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
import sys

def test_it():
    loaded = [name for name in sys.modules if name.startswith(("smmu_emu", "pgtable", "unicorn"))]
    assert loaded == ["smmu_emu", "smmu_emu.pytest_plugin"]
"""
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_trace_tells_what_the_driver_declares(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
def test_it(machine, driver):
    domain = mapped(driver)
    machine.dma(8).write(0x1000, b"x")
    domain.invalidate = False
    domain.unmap(0x1000, 0x1000)
    machine.allow(9, 0x4000, 0x1000, access="r")
    assert [one.name for one in machine.findings] == ["stale-tlb-hit"]
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*mapping *mapped* ASID 1 0x1000+0x2000 -> 0x50000000 rw*",
            "*mapping *unmapped* ASID 1 0x1000+0x1000*",
            "*mapping *mapped stream 0x9 0x4000+0x1000 r*",
        ]
    )
