# SPDX-License-Identifier: GPL-2.0-or-later
"""Injecting: what strikes when, what is told of it, and that nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest

from smmu_emu.inject import (
    EVER,
    Abort,
    Delay,
    Dma,
    Drop,
    Effect,
    Flip,
    Injection,
    Injector,
    Plan,
    Replace,
    Rewrite,
    SetField,
    Target,
    When,
)
from smmu_emu.inject.sites import SITES
from tests.unit.inject.rig import IOVA, PA, STREAM, machine


def _write(under_test: Any, count: int = 1) -> list[bool]:
    return [under_test.dma(STREAM).write(IOVA, b"data") for _ in range(count)]


# -- in and out


_PLAIN: dict[str, Effect] = {
    "walk-read": Abort(),
    "walk-write": Abort(),
    "config-fetch": Abort(),
    "command-fetch": Abort(),
    "event-write": Abort(),
    "pri-write": Abort(),
    "msi-write": Abort(),
    "dma-read": Abort(),
    "dma-write": Abort(),
    "transaction": Drop(),
    "ats-request": Drop(),
    "ats-translated": Drop(),
    "ats-invalidate": Drop(),
    "page-request": Drop(),
    "register-read": Abort(),
    "register-write": Abort(),
    "interrupt": Drop(),
    "clock": Drop(),
    "ste": SetField("V", 0),
    "cd": SetField("V", 0),
    "descriptor": Replace(0),
    "command": Replace(0),
    "event": Replace(0),
    "tlb-entry": Flip((12,)),
    "register": Replace(0),
    "device": Dma(),
}


def _places(under_test: Any) -> dict[str, Any]:
    """What a fault might stand before."""
    smmu = under_test.smmu
    found = {
        f"{name}.{f}": getattr(port, f) for name, port in smmu.ports.items() for f in _ACCESSES
    }
    found |= {name: getattr(smmu, name) for name in ("translate", "submit", "read", "write")}
    found |= {f"ats.{f}": getattr(smmu.ats, f) for f in ("request", "translated", "invalidate")}
    found |= {"after": under_test.clock.after, "page": smmu.ats.page_request}
    found |= {f"dma.{f}": getattr(under_test.dma(STREAM).memory, f) for f in ("read", "write")}
    found |= {number: line.sink for number, line in under_test.board.wires().items()}
    return found


_ACCESSES = ("read", "write", "read_u64", "write_u64")


@pytest.mark.parametrize("site", SITES)
def test_everything_is_as_it_was_when_faults_are_taken_out(site: str) -> None:
    under_test = machine()
    under_test.isolation.remove()  # it stands before some of the same functions
    before = _places(under_test)
    target = Target(register="CR0") if site == "register" else Target()
    with Injector(under_test, Plan((Injection(site, _PLAIN[site], When(nth=1000), target),))):
        during = _places(under_test)
    assert _places(under_test) == before
    assert during != before


def test_faults_stand_before_nothing_that_they_do_not_aim_at() -> None:
    under_test = machine()
    under_test.isolation.remove()  # it stands before some of the same functions
    before = _places(under_test)
    with Injector(under_test, Plan((Injection("msi-write", Abort()),))):
        during = _places(under_test)
    assert {name for name in before if before[name] != during[name]} == {
        "msi.write",
        "msi.write_u64",
    }


def test_faults_are_put_in_once() -> None:
    under_test = machine()
    injector = Injector(under_test, Plan((Injection("walk-read", Abort(), When(times=2)),)))
    injector.install()
    injector.install()
    assert _write(under_test) == [False]
    assert injector.report().fired == {"walk-read abort": 1}
    injector.remove()
    assert _write(under_test) == [True]


def test_same_plan_gives_the_same_firings() -> None:
    def firings() -> list[str]:
        under_test = machine()
        fault = Injection("walk-read", Flip(count=2), When(probability=0.3, times=EVER))
        with Injector(under_test, Plan((fault,), seed=5)) as injector:
            for _ in range(20):
                under_test.smmu.tlb.clear()
                _write(under_test)
        return [str(one) for one in injector.report().firings]

    assert firings() == firings()
    assert len(firings()) > 5


# -- when


def test_nth_and_times_count_what_fits() -> None:
    under_test = machine()
    plan = Plan((Injection("transaction", Abort(), When(nth=3, times=2, write=True)),))
    with Injector(under_test, plan):
        assert under_test.dma(STREAM).read(IOVA, 4) is not None
        assert _write(under_test, 6) == [True, True, False, False, True, True]


def test_addresses_are_half_open() -> None:
    under_test = machine()
    aim = When(address=(PA, PA + 0x1000), times=EVER)
    with Injector(under_test, Plan((Injection("dma-write", Abort(), aim),))):
        dma = under_test.dma(STREAM)
        assert not dma.write(IOVA, b"x")
        assert not dma.write(IOVA + 0xFFF, b"x")
        assert dma.write(IOVA + 0x1000, b"x")


def test_fault_waits_for_a_time() -> None:
    under_test = machine()
    plan = Plan((Injection("transaction", Abort(), When(time=(100, 200), times=EVER)),))
    with Injector(under_test, plan):
        outcomes = []
        for time in (0, 99, 100, 199, 200):
            under_test.clock.advance(time)
            outcomes += _write(under_test)
    assert outcomes == [True, True, False, False, True]


def test_structure_changes_at_a_time() -> None:
    under_test = machine()
    under_test.pass_time(1000)
    at = When(time=(5000, 6000))
    plan = Plan((Injection("ste", SetField("V", 0), at, Target(stream=STREAM)),))
    with Injector(under_test, plan) as injector:
        under_test.clock.advance(4999)
        assert _write(under_test) == [True]
        under_test.clock.advance(5000)
        under_test.smmu.configuration.drop_ste(STREAM)
        assert _write(under_test) == [False]
    (firing,) = injector.report().firings
    assert (firing.time, firing.site) == (5000, "ste")


def test_moment_passes_when_faults_are_out() -> None:
    under_test = machine()
    at = When(time=(5000, 6000))
    plan = Plan((Injection("ste", SetField("V", 0), at, Target(stream=STREAM)),))
    with Injector(under_test, plan):
        pass
    under_test.clock.advance(7000)
    assert _write(under_test) == [True]


def test_fault_waits_for_another() -> None:
    under_test = machine()
    first = Injection("transaction", Abort(), When(nth=2), name="first")
    second = Injection("dma-write", Abort(), When(after="first"), name="second")
    with Injector(under_test, Plan((second, first))):
        assert _write(under_test, 4) == [True, False, False, True]


def test_wire_is_named_with_or_without_its_unit() -> None:
    for line in ("eventq", "smmu0.eventq", "*.eventq"):
        under_test = machine()
        with Injector(under_test, Plan((Injection("interrupt", Drop(), When(line=line)),))) as it:
            assert not under_test.dma(STREAM).write(0x8_0000, b"x")
        assert it.report().valid, line


# -- what is told


def test_firing_tells_what_changed() -> None:
    under_test = machine()
    with Injector(under_test, Plan((Injection("dma-write", Replace(0x2A)),))) as injector:
        _write(under_test)
    (firing,) = injector.report().firings
    assert firing.as_dict() == {
        "number": 1,
        "name": "dma-write replace",
        "site": "dma-write",
        "effect": "replace",
        "time": 0,
        "pc": None,
        "what": "dma-write dma 0x8 stream 0x8 at 0x50000000",
        "before": "64617461",
        "after": "2a000000",
        "note": "",
    }


def test_listeners_hear_of_firings() -> None:
    under_test = machine()
    heard: list[str] = []
    with Injector(under_test, Plan((Injection("walk-read", Abort()),))) as injector:
        injector.listeners.append(lambda firing: heard.append(firing.name))
        _write(under_test)
    assert heard == ["walk-read abort"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            Injection("walk-read", Abort(), When(address=(0x5000, 0x6000))),
            "4 walk-read seen, address 0x48008000-0x4800c080; none in 0x5000-0x6000, "
            "nearest 0x48008000",
        ),
        (
            Injection("transaction", Abort(), When(stream=9)),
            "1 transaction seen, none with stream 0x9; there were 0x8",
        ),
        (
            Injection("transaction", Abort(), When(nth=5)),
            "1 transaction seen, 1 of them fit, nth is 5",
        ),
        (Injection("msi-write", Abort()), "no msi-write was seen"),
        (
            Injection("transaction", Abort(), When(probability=1e-9)),
            "1 transaction seen, the probability of 1e-09 never came true",
        ),
        (
            Injection("transaction", Abort(), When(time=(50, 90))),
            "1 transaction seen, time 0x0; none in 0x32-0x5a, nearest 0x0",
        ),
        (
            Injection("transaction", Abort(), When(pc="main")),
            "1 transaction seen, none with a pc",
        ),
        (
            Injection("ste", SetField("V", 0), When(time=(50, 90)), Target(stream=8)),
            "the run ended at 0 ns",
        ),
        (Injection("tlb-entry", Drop()), "nothing was cached for it"),
        (Injection("event", Replace(0)), "the event queue was empty each time"),
        (
            Injection("descriptor", Replace(0), target=Target(stage=2)),
            "stream 0x8 reaches no such descriptor",
        ),
        (
            Injection("ste", Flip((0,)), target=Target(stream=0x4_0000)),
            "stream 0x40000 reaches no such ste",
        ),
    ],
)
def test_fault_that_never_fired_says_what_was_closest(fault: Injection, words: str) -> None:
    under_test = machine()
    with Injector(under_test, Plan((fault,))) as injector:
        _write(under_test)
    report = injector.report()
    assert not report.valid
    (unfired,) = report.unfired
    assert unfired.closest == words
    assert list(report.lines())[-1].strip().startswith("this run is INVALID")


def test_fault_that_waits_for_one_that_never_fired_says_so() -> None:
    under_test = machine()
    first = Injection("msi-write", Abort(), name="first")
    second = Injection("transaction", Abort(), When(after="first"), name="second")
    with Injector(under_test, Plan((first, second))) as injector:
        _write(under_test)
    assert str(injector.report().unfired[1]) == (
        "second never fired: 'first' has not fired, which it waits for"
    )


def test_closest_address_is_found_from_both_sides() -> None:
    under_test = machine()
    aim = When(address=(PA + 0x1000, PA + 0x2000))
    with Injector(under_test, Plan((Injection("dma-write", Abort(), aim),))) as injector:
        under_test.dma(STREAM).write(IOVA, b"x")
        under_test.dma(STREAM).write(IOVA + 0x2008, b"x")
    assert injector.report().unfired[0].closest.endswith(f"nearest {PA + 0x2008:#x}")


# -- at rest


def test_device_of_its_own_mind_does_not_trigger_itself() -> None:
    under_test = machine()
    plan = Plan((Injection("device", Dma(STREAM, iova=IOVA), When(times=EVER)),))
    with Injector(under_test, plan) as injector:
        _write(under_test, 3)
    assert injector.report().fired == {"device dma": 3}


def test_faults_of_transactions_strike_those_of_hostile_devices_too() -> None:
    under_test = machine()
    attack = Injection("device", Dma(STREAM, iova=IOVA, pattern=0x11), name="attack")
    shield = Injection("transaction", Rewrite(iova_offset=0x1000), When(after="attack"))
    with Injector(under_test, Plan((attack, shield))) as injector:
        _write(under_test)
    assert injector.report().valid
    assert under_test.memory.read(PA + 0x1000, 1) == b"\x11"


def test_delayed_writes_of_long_transfers_keep_their_data() -> None:
    """A port hands out views of a buffer that its master may use again."""
    under_test = machine()
    data = bytearray(b"a" * 0x2000)
    with Injector(under_test, Plan((Injection("dma-write", Delay(50), When(times=2)),))):
        assert under_test.dma(STREAM).write(IOVA, data)
        data[:] = b"b" * 0x2000
        under_test.pass_time(50)
    assert under_test.memory.read(PA, 0x2000) == b"a" * 0x2000


def test_long_transfers_are_not_let_past_the_faults() -> None:
    under_test = machine()
    domain = under_test.driver.domains[STREAM]
    domain.map(0x100_0000, PA + 0x100_0000, 0x10_0000)
    plan = Plan((Injection("transaction", Abort(), When(nth=200)),))
    with Injector(under_test, plan) as injector:
        assert not under_test.dma(STREAM).write(0x100_0000, bytes(0x10_0000))
    assert injector.report().valid
