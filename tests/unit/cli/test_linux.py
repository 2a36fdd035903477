# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu linux``, with a kernel of a few instructions that prompts, echoes and obeys.

It has a kernel's header, prints "# ", echoes what is typed, and knows three keys: q powers off, r
asks for a reset, w waits for an interrupt that never comes.
"""

from __future__ import annotations

import gzip
import json
import os
import pty
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import fdt
import pytest

from smmu_emu.devices.virtio.disk import Disk, DiskMode
from tests.unit.cli.conftest import COMMAND, IMAGES, Ended
from tests.unit.cpu import a64

Cli = Callable[..., Ended]

UART = 0x0900_0000


def compare(rn: int, value: int) -> int:
    """cmp wn, #value"""
    return 0x7100_001F | value << 10 | rn << 5


def branch(condition: int, distance: int) -> int:
    """b.condition, in instructions; 0 is equal, 1 is not."""
    return 0x5400_0000 | (distance & 0x7FFFF) << 5 | condition


POWER_OFF = [*a64.mov(0, 0x8400_0008), a64.hvc()]
SHELL: list[int] = a64.mov(1, UART)
PROMPT = len(SHELL)
for letter in "# ":
    SHELL += [*a64.mov(2, ord(letter)), a64.str_w(2, 1)]
WAIT = len(SHELL)
SHELL += [
    a64.ldr_w(3, 1, 0x18),
    0x3727_FFE3,  # tbnz w3, #4, back to the load: nothing was typed
    a64.ldr_w(4, 1),
    a64.str_w(4, 1),
    compare(4, ord("w")),
    branch(1, 2),
    a64.WFI,
    compare(4, ord("q")),
]
SHELL += [branch(0, 6), compare(4, ord("r"))]
SHELL += [branch(0, 4 + len(POWER_OFF)), compare(4, 10)]
SHELL += [branch(1, WAIT - len(SHELL))]
SHELL += [a64.b(PROMPT - len(SHELL))]
SHELL += POWER_OFF
SHELL += [*a64.mov(0, 0x8400_0009), a64.hvc()]  # reset


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    header = bytearray(a64.code(a64.b(16), a64.NOP) + bytes(56))
    header[16:24] = (0x10_0000).to_bytes(8, "little")
    header[56:60] = b"ARM\x64"
    path = tmp_path / "Image"
    path.write_bytes(bytes(header) + a64.code(SHELL))
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1024))
    return path


# -- scripts


def test_commands_are_typed_at_the_prompt_and_the_run_ends_at_the_next(
    cli: Cli, kernel: Path
) -> None:
    ended = cli("linux", "--kernel", kernel, "--command", "one", "--command", "last")
    assert ended.status == 0
    assert ended.out.startswith("# one\n# last\n# ")
    assert "end            all commands were executed (status 0)\n" in ended.out


def test_command_that_powers_off_ends_with_0(cli: Cli, kernel: Path) -> None:
    ended = cli("linux", "--kernel", kernel, "--command", "q", "--no-report")
    assert ended == (0, "# q", "")


def test_guest_that_reboots_ends_the_run_with_127(cli: Cli, kernel: Path) -> None:
    ended = cli("linux", "--kernel", kernel, "--command", "r")
    assert ended.status == 127
    assert "end            asked for a reset through PSCI (status 127)\n" in ended.out


def test_packed_kernel_is_unpacked(cli: Cli, kernel: Path, tmp_path: Path) -> None:
    packed = tmp_path / "vmlinuz"
    packed.write_bytes(gzip.compress(kernel.read_bytes()))
    ended = cli("linux", "--kernel", packed, "--command", "q", "--no-report")
    assert ended == (0, "# q", "")
    assert cli("run", packed, "--max-instructions", "1K").status == 124


def test_prompt_can_be_another(cli: Cli, kernel: Path) -> None:
    ended = cli(
        "linux", "--kernel", kernel, "--command", "x", "--prompt", "?", "--max-instructions", "1M"
    )
    assert ended.status == 124
    assert ended.out.startswith("# \n\nend")


def test_prompt_in_the_echo_of_a_command_is_none(cli: Cli, kernel: Path) -> None:
    ended = cli("linux", "--kernel", kernel, "--command", "a# b", "--command", "c", "--no-report")
    assert ended == (0, "# a# b\n# c\n# ", "")


def test_scripted_runs_repeat(cli: Cli, kernel: Path) -> None:
    runs = {cli("linux", "--kernel", kernel, "--command", "x").out for _ in range(2)}
    assert len(runs) == 1


# -- what is handed over


def test_dumped_tree_is_what_the_kernel_would_get(
    cli: Cli, kernel: Path, disk: Path, tmp_path: Path
) -> None:
    dumped = tmp_path / "out.dtb"
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"initrd!")
    options = ("--initrd", initrd, "--append", "quiet", "--disk", f"{disk},ro", "--ram", "64M")
    assert cli("linux", "--kernel", kernel, *options, "--dumpdtb", dumped) == (0, "", "")
    tree = fdt.parse_dtb(dumped.read_bytes())
    assert tree.get_property("bootargs", "/chosen").value == "quiet"
    assert list(tree.get_property("linux,initrd-end", "/chosen").data) == [0, 0x4200_0007]
    assert tree.exist_node("/virtio_mmio@a000000")
    changed = tmp_path / "changed.dtb"
    tree.set_property("model", "mine")
    changed.write_bytes(tree.to_dtb(version=17))
    again = ("linux", "--kernel", kernel, "--dtb", changed, "--dumpdtb", dumped)
    assert cli(*again) == (0, "", "")
    assert fdt.parse_dtb(dumped.read_bytes()).get_property("model").value == "mine"


def test_other_images_are_handed_a_tree_too(cli: Cli, tmp_path: Path) -> None:
    dumped = tmp_path / "out.dtb"
    assert cli("run", IMAGES / "hello.elf", "--dumpdtb", dumped) == (0, "", "")
    tree = fdt.parse_dtb(dumped.read_bytes())
    assert tree.exist_node("/smmuv3@9050000")
    assert cli("run", IMAGES / "hello.elf", "--dtb", dumped).status == 0
    dumped.write_bytes(b"no tree")
    assert "is not a device tree" in cli("run", IMAGES / "hello.elf", "--dtb", dumped).line


@pytest.mark.parametrize(
    "mode", [",ro", ",snapshot", "", ",bus=pci", ",ro,bus=pci", ",bus=mmio,rw"]
)
def test_disk_modes_are_understood(cli: Cli, kernel: Path, disk: Path, mode: str) -> None:
    ended = cli("linux", "--kernel", kernel, "--disk", f"{disk}{mode}", "--command", "q")
    assert ended.status == 0
    Disk(disk).close()


def test_disk_on_pci_is_no_platform_device(
    cli: Cli, kernel: Path, disk: Path, tmp_path: Path
) -> None:
    dumped = tmp_path / "out.dtb"
    cli("linux", "--kernel", kernel, "--disk", f"{disk},bus=pci", "--dumpdtb", dumped)
    assert not fdt.parse_dtb(dumped.read_bytes()).exist_node("/virtio_mmio@a000000")


def test_comma_in_a_file_name_is_no_mode(cli: Cli, kernel: Path, tmp_path: Path) -> None:
    path = tmp_path / "a,b.img"
    path.write_bytes(bytes(512))
    assert cli("linux", "--kernel", kernel, "--disk", path, "--command", "q").status == 0


# -- bad input


def test_bad_input_is_one_line(cli: Cli, kernel: Path, disk: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    odd = tmp_path / "odd"
    odd.write_bytes(b"x")
    held = Disk(disk, DiskMode.READ_WRITE)
    for options, line in [
        (("--kernel", absent), f"{absent}: no such file"),
        (("--kernel", IMAGES / "hello.elf"), "is no Linux kernel"),
        (("--kernel", kernel, "--initrd", absent), f"{absent}: no such file"),
        (("--kernel", kernel, "--disk", absent), f"disk {absent}: No such file"),
        (("--kernel", kernel, "--disk", odd), f"disk {odd}: 1 bytes are no whole number"),
        (("--kernel", kernel, "--disk", disk), f"disk {disk}: in use by another machine"),
        (("--kernel", kernel, "--dtb", odd), f"{odd} is not a device tree"),
        (("--kernel", kernel, "--ram", "3M", "--initrd", odd), "is outside RAM"),
        (("--kernel", kernel, "--ids", "x"), "no ID registers 'x'"),
    ]:
        ended = cli("linux", *options)
        assert ended.status == 123, options
        assert line in ended.line
    held.close()


# -- keyboards


def start(*arguments: object, stdin: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "linux", *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def read_until(fd: int, text: bytes) -> bytes:
    data = b""
    while text not in data:
        assert select.select([fd], [], [], 60)[0], f"only {data!r} came"
        data += os.read(fd, 4096)
    return data


def test_pipe_types_what_it_holds(kernel: Path) -> None:
    running = start("--kernel", kernel, stdin=subprocess.PIPE)
    out, _ = running.communicate(b"hi\nq", timeout=60)
    assert running.returncode == 0
    assert out.startswith(b"# hi\n# q")
    assert b"powered off through PSCI" in out


def test_end_of_input_leaves_the_guest_to_itself(kernel: Path) -> None:
    running = start("--kernel", kernel, stdin=subprocess.PIPE)
    out, _ = running.communicate(b"w", timeout=60)
    assert running.returncode == 125
    assert b"waits for an interrupt" in out


def test_output_that_nobody_reads_ends_it_quietly(kernel: Path) -> None:
    running = start("--kernel", kernel, stdin=subprocess.PIPE)
    assert running.stdin is not None
    assert running.stdout is not None
    read_until(running.stdout.fileno(), b"# ")
    running.stdout.close()
    running.stdin.write(b"x" * 100)
    running.stdin.close()
    assert running.wait(timeout=60) == -signal.SIGPIPE
    assert running.stderr is not None
    assert running.stderr.read() == b""


def test_ctrl_c_ends_an_idle_guest_with_a_report(kernel: Path) -> None:
    running = start("--kernel", kernel, stdin=subprocess.PIPE)
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(b"w")
    running.stdin.flush()
    read_until(running.stdout.fileno(), b"w")
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, b"")
    assert b"end            interrupted (status 130)\n" in out


def at_terminal(kernel: Path, *options: object) -> tuple[int, int]:
    """The command's process and the other end of its terminal."""
    pid, fd = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(COMMAND[0], [*COMMAND, "linux", "--kernel", str(kernel), *map(str, options)])
    return pid, fd


def test_terminal_gives_every_key_to_the_guest_and_ctrl_a_x_ends(
    kernel: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    pid, fd = at_terminal(kernel, "--json", report)
    read_until(fd, b"# ")
    os.write(fd, b"a\x03\x01\x01b\n")
    assert read_until(fd, b"\n# ") == b"a\x03\x01b\n# "  # unchanged, Ctrl-C and Ctrl-A too
    os.write(fd, b"\x01")
    os.write(fd, b"x")
    said = read_until(fd, b"events")
    assert b"end            ended at the terminal (status 0)\r\n" in said  # itself again
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert json.loads(report.read_text())["exit"]["reason"] == "ended at the terminal"


def talk(path: Path, packet: bytes) -> bytes:
    """One packet to a debugger's door, and the answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"$%s#%02x" % (packet, sum(packet) & 0xFF))
        said = b""
        while b"$" not in said or b"#" not in said.partition(b"$")[2]:
            said += client.recv(4096)
        return said.partition(b"$")[2].partition(b"#")[0]


def test_debugger_attaches_while_somebody_types(kernel: Path, tmp_path: Path) -> None:
    """The guest waits for GDB; once it has gone, what is typed reaches the guest."""
    door = tmp_path / "gdb.sock"
    running = start("--kernel", kernel, "--gdb", door, "--gdb-wait", stdin=subprocess.PIPE)
    assert running.stderr is not None
    assert b"the run waits for it" in read_until(running.stderr.fileno(), b"\n")
    assert talk(door, b"p20") == (0x4020_0000).to_bytes(8, "little").hex().encode()
    out, err = running.communicate(b"hi\nq", timeout=60)
    assert running.returncode == 0
    assert out.startswith(b"# hi\n# q")
    assert b"a debugger attached" in err


def test_debugger_attaches_to_a_script(kernel: Path, tmp_path: Path) -> None:
    door = tmp_path / "gdb.sock"
    options = ("--gdb", door, "--gdb-wait", "--command", "hi", "--command", "q")
    running = start("--kernel", kernel, *options, stdin=subprocess.DEVNULL)
    assert running.stderr is not None
    read_until(running.stderr.fileno(), b"\n")
    assert talk(door, b"p20") == (0x4020_0000).to_bytes(8, "little").hex().encode()
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert out.startswith(b"# hi\n# q")


def test_waiting_for_a_debugger_needs_a_door(cli: Cli, kernel: Path) -> None:
    ended = cli("linux", "--kernel", kernel, "--gdb-wait")
    assert ended.status == 2
    assert "--gdb-wait needs --gdb" in ended.err


def test_idle_guest_at_a_terminal_costs_no_time(kernel: Path) -> None:
    pid, fd = at_terminal(kernel)
    read_until(fd, b"# ")
    os.write(fd, b"w")
    read_until(fd, b"w")
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        pytest.skip("no /proc here")

    def used() -> int:
        return sum(int(field) for field in stat.read_text().split()[13:15])

    before = used()
    time.sleep(1)
    assert used() - before < 0.3 * os.sysconf("SC_CLK_TCK")
    os.write(fd, b"\x01x")
    read_until(fd, b"events")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_termination_ends_with_a_report(kernel: Path) -> None:
    pid, fd = at_terminal(kernel)
    read_until(fd, b"# ")
    os.kill(pid, signal.SIGTERM)
    assert b"terminated (status 143)" in read_until(fd, b"events")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143
