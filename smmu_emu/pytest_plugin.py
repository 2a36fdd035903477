# SPDX-License-Identifier: GPL-2.0-or-later
"""A pytest plugin, there as soon as the package is installed: machines, drivers and faults.

Fixtures: ``machine``, ``driver``, ``inject``, ``policy``, ``seed``. Markers: ``machine(**options)``
gives the machine other options, ``image(path, until=...)`` loads (and boots) an image,
``policies(...)`` and ``seeds(n)`` run a test once for each. A test whose planned fault never fired
is invalid, and fails as such. docs/fault_injection.md has examples.

Nothing of the emulator is loaded before a test asks for it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from smmu_emu.driver import Smmuv3Driver
    from smmu_emu.inject import Injector
    from smmu_emu.snapshot import Snapshot
    from smmu_emu.testing import MachineUnderTest

_MACHINE: pytest.StashKey[MachineUnderTest] = pytest.StashKey()
_BOOTED: pytest.StashKey[dict[object, tuple[MachineUnderTest, Snapshot]]] = pytest.StashKey()
_KEPT = 40
"""Events of the trace that a failure shows, unless --smmu-trace says another number."""

_MARKERS = (
    "machine(**options): options of Machine.virt for the machine fixture",
    "image(path, until=None, **options): load an image; with until, start each test from where it "
    "has printed that",
    "policies(*names): run the test under each of these policies of the SMMU (the policy fixture)",
    "seeds(n): run the test with n seeds (the seed fixture)",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """--smmu-trace."""
    group = parser.getgroup("smmu-emu")
    group.addoption(
        "--smmu-trace",
        type=int,
        default=_KEPT,
        metavar="N",
        help=f"events of the trace that a failing test shows (default {_KEPT}; 0 traces nothing)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known, as --strict-markers wants it."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    config.stash[_BOOTED] = {}


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the machines that tests started from."""
    for machine, _ in config.stash.get(_BOOTED, {}).values():
        machine.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Once for each policy and seed of the markers."""
    for fixture, values in (("policy", _policies(metafunc)), ("seed", _seeds(metafunc))):
        if values is not None:
            if fixture not in metafunc.fixturenames:
                metafunc.fixturenames.append(fixture)
            metafunc.parametrize(fixture, values, ids=[f"{fixture}-{one}" for one in values])


def _policies(metafunc: pytest.Metafunc) -> list[str] | None:
    marker = metafunc.definition.get_closest_marker("policies")
    return None if marker is None else list(marker.args)


def _seeds(metafunc: pytest.Metafunc) -> list[int] | None:
    marker = metafunc.definition.get_closest_marker("seeds")
    return None if marker is None else list(range(marker.args[0]))


# -- fixtures


@pytest.fixture
def policy() -> str | None:
    """The policy of the SMMU that a test runs under; None if it has no ``policies``."""
    return None


@pytest.fixture
def seed() -> int:
    """The seed that a test runs with; 0 if it has no ``seeds``."""
    return 0


@pytest.fixture
def machine(
    request: pytest.FixtureRequest, policy: str | None, seed: int
) -> Iterator[MachineUnderTest]:
    """A machine (`smmu_emu.testing.MachineUnderTest`), fresh or just booted, for one test."""
    options = dict(getattr(request.node.get_closest_marker("machine"), "kwargs", {}))
    if policy is not None:
        options["policy"] = f"{policy},seed={seed}"
    image = request.node.get_closest_marker("image")
    made, keep = _make(request.config, options, image)
    request.node.stash[_MACHINE] = made
    yield made
    made.heal()
    if not keep:
        made.close()


def _make(
    config: pytest.Config, options: dict[str, Any], image: pytest.Mark | None
) -> tuple[MachineUnderTest, bool]:
    """A machine, and whether other tests start from it as well."""
    from smmu_emu.testing import MachineUnderTest

    kept = config.getoption("--smmu-trace")
    until = None if image is None else image.kwargs.get("until")
    if image is None or until is None:
        made = MachineUnderTest.build(kept=kept, **options)
        if image is not None:
            made.load(_path(config, image), **_load_options(image))
        return made, False
    key = (repr(sorted(options.items())), repr(image.args), repr(sorted(image.kwargs.items())))
    booted = config.stash[_BOOTED]
    if key not in booted:
        made = MachineUnderTest.build(kept=kept, **options)
        made.load(_path(config, image), **_load_options(image))
        made.run_until(until)
        booted[key] = made, made.snapshot()
    made, snapshot = booted[key]
    made.restore(snapshot)
    made.begin()
    return made, True


def _path(config: pytest.Config, image: pytest.Mark) -> Path:
    """Paths are relative to where pytest.ini or pyproject.toml is."""
    path = Path(image.args[0])
    return path if path.is_absolute() else config.rootpath / path


def _load_options(image: pytest.Mark) -> dict[str, Any]:
    return {key: value for key, value in image.kwargs.items() if key != "until"}


@pytest.fixture
def driver(machine: MachineUnderTest) -> Smmuv3Driver:
    """The reference driver in Python, which has brought the machine's SMMU up."""
    return machine.attach_driver()


@pytest.fixture
def inject(machine: MachineUnderTest) -> Callable[..., Injector]:
    """Injects faults into the machine: `MachineUnderTest.inject`."""
    return machine.inject


# -- outcomes


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A test whose faults never fired has not passed."""
    result = yield
    machine = item.stash.get(_MACHINE, None)
    if machine is not None:
        machine.assert_valid()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what happened last, and how to see it again."""
    report = yield
    machine = item.stash.get(_MACHINE, None)
    if machine is not None and report.failed:
        story = list(machine.story())
        if story:
            report.sections.append(("smmu-emu: what happened last", "\n".join(story)))
        report.sections.append(("smmu-emu: see it again", "\n".join(_again(item, machine))))
    return report


def _again(item: pytest.Item, machine: MachineUnderTest) -> Iterator[str]:
    """Commands that show the same again."""
    from smmu_emu.inject.files import plan_text

    yield f"pytest {shlex.quote(item.nodeid)}"
    if machine.image is not None and machine.injectors:
        yield f"smmu-emu run {shlex.quote(str(machine.image))} --inject plan.toml  # with this:"
    for injector in machine.injectors:
        yield plan_text(injector.plan).rstrip()
