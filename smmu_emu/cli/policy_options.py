# SPDX-License-Identifier: GPL-2.0-or-later
"""``--policy`` and ``--policy-sweep``: an SMMU that does what silicon may."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from smmu_emu.machine import Machine
    from smmu_emu.policy.choice import Choice
    from smmu_emu.policy.sweep import Difference

DIFFERENT = 1
"""Status of a sweep that found a difference."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _chosen(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> str | None:
    """The text of all of them, checked before anything is loaded; ``list`` ends the program."""
    if not texts:
        return None
    if "list" in texts:
        for line in listed():
            click.echo(line)
        ctx.exit()
    from smmu_emu.errors import ConfigurationError
    from smmu_emu.policy.choice import Choice

    try:
        return str(Choice.parse(texts))
    except ConfigurationError as error:
        raise click.BadParameter(str(error), ctx, param) from None


policy_option = click.option(
    "--policy",
    multiple=True,
    callback=_chosen,
    metavar="NAMES",
    help="Let the SMMU behave as silicon may, as in evict,prefetch,seed=3. Repeatable; "
    '"list" tells what there is.',
)

_sweep_option = click.option(
    "--policy-sweep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run the image under N policies, tell where the outcome differs; status 1 if it does.",
)


def policy_options(command: _Command) -> _Command:
    """The options of this topic."""
    return policy_option(_sweep_option(command))


def check_policy_options(options: dict[str, Any]) -> None:
    """Refuse what a sweep cannot be combined with.

    Raises: UsageError.
    """
    if options["policy_sweep"] is None:
        return
    clashes = {
        "--policy": options["policy"],
        "--inject": options["plans"],
        "--gdb": options["gdb"],
        "--json": options["json_path"],
        "--trace": options["trace_path"],
        "--check": options["check"] or options["check_lazy"],
        "--provenance": options["provenance"],
        "--bios": options["bios"],
    }
    for option, value in clashes.items():
        if value:
            raise click.UsageError(f"--policy-sweep goes without {option}")


class PolicyPart:
    """What a report says of policies."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"policy         {self.choice}"

    def complaints(self) -> Iterator[str]:
        """None."""
        yield from ()

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {"names": list(self.choice.names), "seed": self.choice.seed}


def policy_parts(machine: Machine) -> dict[str, PolicyPart]:
    """What the report of a run gains."""
    adversary = machine.adversary
    return {} if adversary is None else {"policy": PolicyPart(adversary.choice)}


def listed() -> Iterator[str]:
    """Every policy in a line."""
    from smmu_emu.policy import POLICIES

    width = max(map(len, POLICIES))
    for name, policy in POLICIES.items():
        yield f"{name:{width}}  {policy.summary}"


def sweep_image(machine: Machine, count: int, max_instructions: int | None) -> int:
    """Run what is loaded under many policies, and tell of differences; the exit status."""
    from smmu_emu.policy.sweep import Sweep, choices

    machine.console = None
    sweep = Sweep(machine, max_instructions)
    usual = sweep.usual
    click.echo(
        f"no policy: status {usual.status}, {usual.instructions:,} instructions, "
        f"{usual.records.total():,} records, {usual.landings.total():,} DMA writes"
    )
    found = 0
    for choice in choices(count):
        difference = sweep.try_out(choice)
        if difference is not None:
            found += 1
            _tell(difference)
    verdict = f"{found} of them differ" if found else "the outcome is the same under all"
    if found:
        click.echo()
    click.echo(f"{count} {'policy' if count == 1 else 'policies'}: {verdict}")
    return DIFFERENT if found else 0


def _tell(difference: Difference) -> None:
    click.echo(f"\n{difference.choice} comes to something else:")
    for line in difference.lines:
        click.echo(f"  {line}")
    click.echo(f"  to see it: {_command_for(str(difference.least))}")


def _command_for(policy: str) -> str:
    """This command line with one policy instead of the sweep."""
    words: list[str] = []
    arguments = iter(sys.argv[1:])
    for word in arguments:
        if word == "--policy-sweep":
            next(arguments, None)
        elif not word.startswith("--policy-sweep="):
            words.append(word)
    return shlex.join(["smmu-emu", *words, "--policy", policy])
