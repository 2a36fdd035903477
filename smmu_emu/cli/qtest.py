# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu qtest``: let a test program, written for QEMU's qtest, drive the machine."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from smmu_emu.cli.board_options import gic_option
from smmu_emu.cli.check_options import (
    NO_CHECK,
    CheckOptions,
    check_options,
    checked,
    take_check_options,
)
from smmu_emu.cli.parameters import NUMBER
from smmu_emu.cli.trace_options import (
    NO_TRACE,
    TraceOptions,
    take_trace_options,
    trace_options,
    traced,
)
from smmu_emu.errors import ConfigurationError

if TYPE_CHECKING:
    from smmu_emu.machine import Machine
    from smmu_emu.qtest_server import Client

_EPILOG = """\
QEMU's own test library starts QEMU as $QTEST_QEMU_BINARY with options of QEMU's, of which those
listed with one hyphen are understood; a script named qemu-system-aarch64 that executes
smmu-emu qtest "$@" serves as such. Of -machine and -cpu all values are taken, but the machine
remains the board without a core that smmu-emu has. What was accessed and is not modelled is told on
standard error at the end.
"""


def _ignored(*names: str) -> Callable[[Any], Any]:
    return click.option(*names, "ignored", multiple=True, hidden=True, expose_value=False)


@click.command("qtest", epilog=_EPILOG)
@click.option("--stdio", is_flag=True, help="Talk on standard input and output. The default.")
@click.option("--socket", "listen", metavar="PATH", help="Listen there for one client.")
@click.option("--connect", metavar="PATH", help="Connect to a client that listens there.")
@click.option("--ram", "-m", type=NUMBER, default="512M", show_default=True, help="Size of RAM.")
@gic_option
@click.option("--ids", default="qemu", show_default=True, help="Preset of SMMU ID registers.")
@click.option(
    "--device",
    "-device",
    "devices",
    metavar="NAME[@ADDRESS][,PROPERTY=VALUE]",
    multiple=True,
    default=("iommu-testdev@00:01.0",),
    show_default=True,
    help="A PCI device, as edu@00:02.0,dma_mask=0xffffffff. Repeatable; replaces the default.",
)
@click.option("-qtest", "qtest", metavar="CHARDEV", help="stdio, or unix:PATH to connect to.")
@click.option(
    "-chardev", "chardevs", metavar="socket,path=PATH,id=ID", multiple=True, help="For -mon."
)
@click.option("-mon", "monitor", metavar="chardev=ID,mode=control", help="Serve QMP there.")
@_ignored("-machine", "-M")
@_ignored("-cpu")
@_ignored("-smp")
@_ignored("-net")
@_ignored("-nic")
@_ignored("-display")
@_ignored("-audio")
@_ignored("-accel")
@_ignored("-qtest-log")
@_ignored("-run-with")
@click.option("-nodefaults", is_flag=True, hidden=True, expose_value=False)
@trace_options
@check_options
def command(**options: Any) -> None:
    """Serve QEMU's qtest protocol: a program in another process plays the core."""
    check = take_check_options(options)
    sys.exit(serve_machine(trace=take_trace_options(options), check=check, **options))


def serve_machine(
    stdio: bool,
    listen: str | None,
    connect: str | None,
    ram: int,
    gic: str,
    ids: str,
    devices: tuple[str, ...],
    qtest: str | None,
    chardevs: tuple[str, ...],
    monitor: str | None,
    trace: TraceOptions = NO_TRACE,
    check: CheckOptions = NO_CHECK,
) -> int:
    """Build the machine, and serve it until its client has gone; the exit status."""
    from smmu_emu.machine import Machine
    from smmu_emu.smmuv3 import PRESETS

    if qtest is not None:
        stdio, connect = _transport(qtest, stdio, connect)
    if sum((stdio, listen is not None, connect is not None)) > 1:
        raise click.UsageError("one of --stdio, --socket and --connect is enough")
    if ids not in PRESETS:
        raise ConfigurationError(f"no ID registers {ids!r}; there are {', '.join(PRESETS)}")
    # QEMU puts "addr=02.0" where "@00:02.0" is meant here, and its -m is in MiB
    with Machine.virt(
        ram=ram << 20 if ram < 1 << 20 else ram,
        devices=map(_device, devices),
        gic=gic,
        smmu_ids=PRESETS[ids],
    ) as machine:
        with (
            traced(machine, trace, None) as tracer,
            checked(machine, check, None, tracer) as findings,
        ):
            _serve(machine, listen, connect, _monitor_path(monitor, chardevs))
        for site in machine.unmodelled:
            click.echo(f"smmu-emu: {site}", err=True)
        for part in findings.parts.values():
            for line in part.lines():
                click.echo(line, err=True)
        return findings.status(0)


def _transport(qtest: str, stdio: bool, connect: str | None) -> tuple[bool, str | None]:
    """What -qtest adds to --stdio and --connect.

    Raises: ConfigurationError for a character device that there is not.
    """
    kind, _, path = qtest.partition(":")
    if qtest == "stdio":
        return True, connect
    if kind == "unix" and path and "," not in path:
        return stdio, path
    raise ConfigurationError(f"-qtest {qtest}: there are stdio and unix:PATH")


def _device(text: str) -> str:
    """A device as QEMU describes it, or as we do, in our words."""
    head, *properties = text.split(",")
    ours = []
    for one in properties:
        name, _, value = one.partition("=")
        if name == "addr" and "@" not in head:
            head += f"@{value if '.' in value else f'{value}.0'}".replace("0x", "")
        else:
            ours.append(one)
    return ",".join([head, *ours])


def _monitor_path(monitor: str | None, chardevs: tuple[str, ...]) -> str | None:
    """Where a monitor's client listens.

    Raises: ConfigurationError for character devices that there are not.
    """
    if monitor is None:
        return None
    wanted = _fields(monitor).get("chardev")
    for one in chardevs:
        fields = _fields(one)
        if fields.get("id") == wanted and one.startswith("socket,") and "path" in fields:
            return fields["path"]
    raise ConfigurationError(f"-mon {monitor}: no -chardev socket,path=PATH,id={wanted}")


def _fields(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (one.partition("=") for one in text.split(","))}


def _serve(machine: Machine, listen: str | None, connect: str | None, monitor: str | None) -> None:
    from smmu_emu import qtest_server
    from smmu_emu.qmp import Qmp
    from smmu_emu.qtest import Qtest

    def client(source: int, target: int, kind: Any, *, essential: bool) -> Client:
        channel = qtest_server.Channel(source, target)
        return qtest_server.Client(channel, kind(machine, channel.send), essential)

    def ready() -> None:
        click.echo(f"smmu-emu: waiting for a qtest client at {listen}", err=True)

    gc.freeze()  # what was loaded stays
    gc.enable()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a client that has gone is no accident
    signal.signal(signal.SIGTERM, _end)
    with ExitStack() as links:
        if listen is not None:
            main = links.enter_context(qtest_server.accept(listen, ready)).fileno()
        elif connect is not None:
            main = links.enter_context(qtest_server.connect(connect)).fileno()
        else:
            main = None
        ends = (0, 1) if main is None else (main, main)
        clients = [client(*ends, Qtest, essential=True)]
        if monitor is not None:
            link = links.enter_context(qtest_server.connect(monitor)).fileno()
            clients.append(client(link, link, Qmp, essential=False))
        qtest_server.serve(clients)


def _end(number: int, frame: FrameType | None) -> None:
    """Test libraries end QEMU by SIGTERM, and expect status 0."""
    sys.exit(0)
