# SPDX-License-Identifier: GPL-2.0-or-later
"""The qtest protocol: commands, answers, interrupts, and what hostile clients get.

Answers that are not FAIL were seen on QEMU 11.1, but for those about blocks of registers.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from smmu_emu.machine import Machine
from smmu_emu.qmp import Qmp
from smmu_emu.qtest import LARGEST, Qtest
from smmu_emu.qtest_server import Channel, Client, Ending, accept, connect, serve
from smmu_emu.smmuv3 import PRESETS

RAM, SMMU, UART, EDU = 0x4000_0000, 0x0905_0000, 0x0900_0000, 0x1010_0000
GIC, UNIT, HOST = (f"/machine/unattached/device[{n}]" for n in (1, 6, 5))


class Rig:
    """A machine with an edu whose registers are decoded, and a session."""

    def __init__(self) -> None:
        self.machine = Machine.virt(
            ram=16 << 20, devices=["iommu-testdev", "edu@00:02.0"], smmu_ids=PRESETS["qemu"]
        )
        self.said: list[str] = []
        self.session = Qtest(self.machine, self.said.append)
        self.ask(f"writel 0x4010010010 {EDU:#x}")
        self.ask("writel 0x4010010004 6")

    def ask(self, line: str) -> list[str]:
        self.said.clear()
        self.session.handle(line)
        return list(self.said)


@pytest.fixture
def rig() -> Rig:
    return Rig()


# -- memory


@pytest.mark.parametrize(
    ("command", "value"),
    [
        ("readb", 0x01),
        ("readw", 0x0201),
        ("readl", 0x0403_0201),
        ("readq", 0x0807_0605_0403_0201),
    ],
)
def test_numbers_are_little_endian_with_16_digits(rig: Rig, command: str, value: int) -> None:
    assert rig.ask("endianness") == ["OK little"]
    rig.ask(f"write {RAM + 1:#x} 8 0x0102030405060708")

    assert rig.ask(f"{command} {RAM + 1:#x}") == [f"OK 0x{value:016x}"]


@pytest.mark.parametrize(("suffix", "size"), [("b", 1), ("w", 2), ("l", 4), ("q", 8)])
def test_written_number_is_cut_to_its_size(rig: Rig, suffix: str, size: int) -> None:
    assert rig.ask(f"write{suffix} {RAM:#x} 0xffffffffffffffff") == ["OK"]

    assert rig.machine.memory.read(RAM, 9) == b"\xff" * size + bytes(9 - size)


@pytest.mark.parametrize("address", ["0x40000000", "1073741824", "010000000000", "+0x40000000"])
def test_addresses_are_written_as_in_c(rig: Rig, address: str) -> None:
    rig.machine.memory.write(RAM, b"\x2a")

    assert rig.ask(f"readb {address}") == ["OK 0x000000000000002a"]


def test_negative_value_wraps(rig: Rig) -> None:
    rig.ask(f"writel {RAM:#x} -2")

    assert rig.ask(f"readl {RAM:#x}") == ["OK 0x00000000fffffffe"]


def test_blocks_go_in_and_out(rig: Rig) -> None:
    assert rig.ask(f"write {RAM:#x} 4 0x0A0b") == ["OK"]
    assert rig.ask(f"read {RAM:#x} 4") == ["OK 0x0a0b0000"]
    assert rig.ask(f"memset {RAM:#x} 2 0x1ff") == ["OK"]
    assert rig.ask(f"memset {RAM:#x} 0 0") == ["OK"]
    assert rig.ask(f"b64read {RAM:#x} 4") == ["OK //8AAA=="]
    assert rig.ask(f"b64read {RAM:#x} 0") == ["OK"]
    assert rig.ask(f"b64write {RAM:#x} 2 AQIDBA==") == ["OK"]
    assert rig.ask(f"read {RAM:#x} 4") == ["OK 0x01020000"]
    assert rig.ask(f"write {RAM:#x} 1 0x112233") == ["OK"]
    assert rig.ask(f"read {RAM:#x} 4") == ["OK 0x11020000"]


def test_nobody_answers_with_zeros_and_is_told(rig: Rig) -> None:
    end = RAM + (16 << 20)
    rig.machine.memory.write(end - 4, b"\x01\x02\x03\x04")

    assert rig.ask(f"read {end - 4:#x} 8") == ["OK 0x0102030400000000"]
    assert rig.ask(f"write {end - 2:#x} 4 0x0a0b0c0d") == ["OK"]
    assert rig.ask(f"read {end - 4:#x} 4") == ["OK 0x01020a0b"]
    assert [str(site) for site in rig.machine.unmodelled] == [
        f"nothing at {end:#x}: read",
        f"nothing at {end:#x}: write",
    ]


def test_refused_access_reads_as_zero(rig: Rig) -> None:
    rig.ask(f"writel {EDU + 4:#x} 5")

    assert rig.ask(f"readb {EDU + 4:#x}") == ["OK 0x0000000000000000"]
    assert rig.ask(f"writew {EDU + 4:#x} 0") == ["OK"]
    assert rig.ask(f"readl {EDU + 4:#x}") == ["OK 0x00000000fffffffa"]


def test_doubleword_that_a_device_refuses_is_two_words(rig: Rig) -> None:
    rig.ask("writel 0x4010008010 0x10000000")
    rig.ask("writel 0x4010008004 6")

    assert rig.ask("readq 0x10000014") == ["OK 0x0000000200000000"]
    rig.ask("writeq 0x10000018 0x1122334455667788")

    assert rig.ask("readq 0x10000018") == ["OK 0x1122334455667788"]


def test_ports_read_as_all_ones_and_are_told(rig: Rig) -> None:
    assert [rig.ask(f"in{suffix} 0x60")[0] for suffix in "bwl"] == [
        "OK 0x00ff",
        "OK 0xffff",
        "OK 0xffffffff",
    ]
    assert rig.ask("outl 0x64 1") == ["OK"]
    assert rig.ask("inb 0") == ["OK 0x00ff"]
    assert [str(site) for site in rig.machine.unmodelled] == [
        "port at 0x60: read",
        "port at 0x64: write",
    ]


def test_block_in_registers_is_words(rig: Rig) -> None:
    assert rig.ask(f"read {SMMU:#x} 12") == ["OK 0x1b10440d1000730200000000"]
    assert rig.ask(f"write {EDU + 4:#x} 8 0x0000000005000000") == ["OK"]
    assert rig.ask(f"read {EDU:#x} 12") == ["OK 0xed000001ffffffff78000000"]


def test_block_across_ram_and_nothing_and_devices(rig: Rig) -> None:
    start = UART + 0xFFC

    answer = rig.ask(f"read {start:#x} {SMMU + 4 - start}")[0]

    assert answer[:5] == "OK 0x"
    assert answer[-8:] == "1b10440d"
    assert len(answer) == 5 + 2 * (SMMU + 4 - start)


# -- time


def test_time_moves_when_told(rig: Rig) -> None:
    fired: list[int] = []
    clock = rig.machine.clock
    clock.after(50, lambda: fired.append(clock.now))

    assert rig.ask("clock_step 20") == ["OK 20"]
    assert rig.ask("clock_step") == ["OK 50"]
    assert fired == [50]
    assert rig.ask("clock_step") == [
        "FAIL cannot advance clock to the next deadline because there is no pending deadline"
    ]
    assert rig.ask("clock_step 0") == ["FAIL could not advance time"]
    assert rig.ask("clock_step -5") == ["FAIL could not advance time"]
    assert rig.ask("clock_set 100") == ["OK 100"]
    assert rig.ask("clock_set 100") == ["OK 100"]
    assert rig.ask("clock_set 99") == ["FAIL 100"]
    assert rig.ask(f"clock_step {(1 << 63) - 1}") == ["FAIL could not advance time"]


# -- interrupts


def test_inputs_of_the_gic_are_told_before_the_answer(rig: Rig) -> None:
    assert rig.ask(f"irq_intercept_in {GIC}") == ["OK"]
    assert rig.ask(f"irq_intercept_in {GIC}") == ["OK"]

    assert rig.ask(f"writel {EDU + 0x60:#x} 1") == ["IRQ raise 5", "OK"]
    assert rig.ask(f"writel {EDU + 0x64:#x} 1") == ["IRQ lower 5", "OK"]


def test_intercepted_interrupt_still_reaches_the_gic(rig: Rig) -> None:
    rig.ask(f"irq_intercept_in {GIC}")

    rig.ask(f"writel {EDU + 0x60:#x} 1")

    assert rig.ask("readl 0x08000204") == ["OK 0x0000000000000020"]


@pytest.mark.parametrize("path", [UNIT, "smmu0"])
def test_outputs_of_the_smmu_have_its_own_numbers(rig: Rig, path: str) -> None:
    assert rig.ask(f"irq_intercept_out {path} sysbus-irq") == ["OK"]
    assert rig.machine.smmu.interrupts.gerror.sink is not None

    rig.machine.smmu.interrupts.gerror.pulse()

    assert rig.said[1:] == ["IRQ raise 3", "IRQ lower 3"]


def test_outputs_of_the_pcie_host_are_its_pins(rig: Rig) -> None:
    rig.ask(f"irq_intercept_out {HOST} sysbus-irq")

    assert rig.ask(f"writel {EDU + 0x60:#x} 1") == ["IRQ raise 2", "OK"]


def test_input_of_the_gic_can_be_set(rig: Rig) -> None:
    rig.ask(f"irq_intercept_in {GIC}")

    assert rig.ask(f"set_irq_in {GIC} unnamed-gpio-in 100 1") == ["IRQ raise 100", "OK"]
    assert rig.ask("readl 0x08000210") == ["OK 0x0000000000000010"]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("irq_intercept_in /machine/unattached/device[99]", "FAIL Unknown device"),
        (f"irq_intercept_out {UNIT}", "FAIL No intercepts installed"),
        (f"irq_intercept_in {UNIT}", "FAIL No intercepts installed"),
        (
            f"irq_intercept_in {GIC} name",
            "FAIL Interception of named in-GPIOs not yet supported",
        ),
        (
            f"set_irq_in {GIC} unnamed-gpio-in 5000 1",
            "FAIL only unnamed-gpio-in 0 to 255 of the GIC can be set",
        ),
    ],
)
def test_interception_that_cannot_be(rig: Rig, line: str, answer: str) -> None:
    assert rig.ask(line) == [answer]


def test_second_device_is_not_intercepted(rig: Rig) -> None:
    rig.ask(f"irq_intercept_in {GIC}")

    assert rig.ask(f"irq_intercept_out {UNIT} sysbus-irq") == ["FAIL IRQ intercept already enabled"]


# -- what is wrong


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("", "FAIL an empty line is no command"),
        ("   ", "FAIL an empty line is no command"),
        ("frob", "FAIL Unknown command 'frob'"),
        ("\\x80\x07", r"FAIL Unknown command '\\x80\x07'"),
        ("readl", "FAIL readl needs 1 arguments"),
        ("write 0 1", "FAIL write needs 3 arguments"),
        ("readl zz", "FAIL 'zz' is no number"),
        ("readl 0x", "FAIL '0x' is no number"),
        ("readl 09", "FAIL '09' is no number"),
        ("readl 1_0", "FAIL '1_0' is no number"),
        ("readl 0x10000000000000000", "FAIL 0x10000000000000000 has more than 64 bits"),
        ("readl " + "9" * 9999, f"FAIL '{'9' * 40}...' is no number"),
        ("clock_step 9223372036854775808", "FAIL 9223372036854775808 has more than 64 bits"),
        ("readq 0xfffffffffffffffc", "FAIL 8 bytes at 0xfffffffffffffffc end beyond 2^64"),
        ("read 0x40000000 0", "FAIL cannot read 0 bytes"),
        (
            "read 0x40000000 0xffffffffffffffff",
            f"FAIL {(1 << 64) - 1} bytes are more than {LARGEST} at once",
        ),
        ("memset 0 67108865 0", f"FAIL 67108865 bytes are more than {LARGEST} at once"),
        ("write 0x40000000 1 0x", "FAIL '0x' is no hexadecimal data such as 0x0102"),
        ("write 0x40000000 1 12", "FAIL '12' is no hexadecimal data such as 0x0102"),
        ("write 0x40000000 2 0xzz11", "FAIL data that is not hexadecimal"),
        ("b64write 0x40000000 2 ====", "FAIL data that is not base64"),
        ("outb 0x60", "FAIL outb needs 2 arguments"),
        ("inl 0x10000", "FAIL 0x10000 is no port: the last one is 0xffff"),
        ("module_load a b", "FAIL there are no modules"),
    ],
)
def test_bad_line_gets_one_fail(rig: Rig, line: str, answer: str) -> None:
    assert rig.ask(line) == [answer]


def test_random_lines_get_one_answer_each(rig: Rig) -> None:
    rng = random.Random(1)
    words = ["0x40000000", "0", "-1", "1", "0x10100000", "0x09050020", "4096", "zz", "0x0102", GIC]
    commands = [*rig.session._commands, "x"]

    for _ in range(4000):
        line = " ".join([rng.choice(commands), *rng.choices(words, k=rng.randrange(5))])
        answers = [text for text in rig.ask(line) if not text.startswith("IRQ ")]
        assert len(answers) == 1, line
        assert answers[0].startswith(("OK", "FAIL ")), line
        assert "\n" not in answers[0]


# -- monitor


@pytest.fixture
def monitor(rig: Rig) -> Callable[[str], dict[str, object]]:
    said: list[str] = []
    session = Qmp(rig.machine, said.append)
    assert list(json.loads(said[0])) == ["QMP"]

    def ask(line: str) -> dict[str, object]:
        session.handle(line)
        answer = json.loads(said[-1])
        assert isinstance(answer, dict)
        return answer

    return ask


def test_monitor_does_what_test_libraries_need(
    rig: Rig, monitor: Callable[[str], dict[str, object]]
) -> None:
    assert monitor('{"execute": "qmp_capabilities", "id": 7}') == {"return": {}, "id": 7}
    machines = monitor('{"execute": "query-machines"}')["return"]
    assert isinstance(machines, list)
    assert [machine["name"] for machine in machines] == ["virt"]
    rig.ask(f"writeb {RAM:#x} 1")
    assert monitor('{"execute": "system_reset"}') == {"return": {}}
    assert rig.ask(f"readb {RAM:#x}") == ["OK 0x0000000000000000"]
    with pytest.raises(Ending):
        monitor('{"execute": "quit"}')


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('{"execute": "blockdev-add"}', "CommandNotFound"),
        ("{", "GenericError"),
        ("[" * 100_000, "GenericError"),
        ("7", "GenericError"),
        ('{"execute": 7}', "GenericError"),
    ],
)
def test_monitor_refuses_the_rest(
    monitor: Callable[[str], dict[str, object]], line: str, kind: str
) -> None:
    error = monitor(line)["error"]
    assert isinstance(error, dict)
    assert error["class"] == kind


# -- the server


class Echo:
    """Answers each line with its length."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def handle(self, line: str) -> None:
        self.channel.send(f"{len(line)} {line[:8]}")


def echo_through(sent: list[bytes]) -> bytes:
    """What the other end of a socket gets for what it sends, before it closes its writing half."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours.fileno(), ours.fileno())
        thread = threading.Thread(target=serve, args=([Client(channel, Echo(channel))],))
        thread.start()
        for data in sent:
            theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        thread.join(20)
        ours.close()
        got = b""
        while data := theirs.recv(1 << 16):
            got += data
    return got


def test_lines_may_come_in_pieces_and_the_last_needs_its_end() -> None:
    assert echo_through([b"ab", b"c\nde\n\nf", b"g"]) == b"3 abc\n2 de\n0 \n"


def test_bytes_that_are_no_text_are_escaped() -> None:
    assert echo_through([b"\xff\xfe\n"]) == b"8 \\xff\\xfe\n"


def test_endless_line_becomes_one_that_is_no_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smmu_emu.qtest_server.LONGEST_LINE", 1000)

    got = echo_through([b"x" * 5000, b"y" * 5000, b"z\nok\n"])

    assert got == b"25 (a line \n2 ok\n"


def test_client_that_does_not_listen_ends_the_session() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        channel = Channel(ours.fileno(), ours.fileno())
        theirs.sendall(b"a\n" * 10)
        theirs.close()

        serve([Client(channel, Echo(channel))])

    assert not channel.open


def test_stale_socket_is_replaced_and_removed(tmp_path: Path) -> None:
    path = str(tmp_path / "qtest.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    clients: list[socket.socket] = []

    with accept(path, lambda: clients.append(connect(path))):
        assert not os.path.exists(path)
    clients[0].close()


@pytest.mark.parametrize("act", [connect, accept])
def test_socket_that_cannot_be_names_its_path(
    act: Callable[[str], socket.socket], tmp_path: Path
) -> None:
    for path in (str(tmp_path / "no" / "where"), str(tmp_path / ("x" * 200))):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - of any kind
            act(path)
        assert caught.value.filename == path


# -- the subcommand

COMMAND = [sys.executable, "-m", "smmu_emu", "qtest"]


def run(*arguments: str, asked: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        input=asked,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_subcommand_serves_standard_input_and_tells_what_is_not_modelled() -> None:
    done = run("--ram", "16M", asked=f"readl {SMMU:#x}\nreadl 0x60000000\nreadl 0x6000")

    assert done.stdout == "OK 0x000000000d44101b\nOK 0x0000000000000000\n"
    assert done.stderr == "smmu-emu: nothing at 0x60000000: read\n"
    assert done.returncode == 0


def test_subcommand_makes_no_core() -> None:
    program = (
        "import sys\nfrom smmu_emu.cli import main\nsys.argv[1:] = ['qtest']\n"
        "try:\n    main()\nfinally:\n    print('unicorn' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input="endianness\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.stdout == "OK little\nFalse\n"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--ids", "x"], 123, "no ID registers 'x'"),
        (["--device", "e1000"], 123, "no device 'e1000'"),
        (["--connect", "/no/where"], 123, "smmu-emu: /no/where: No such file or directory\n"),
        (["--socket", "/no/where"], 123, "smmu-emu: /no/where: No such file or directory\n"),
        (["--stdio", "--socket", "x"], 2, "one of --stdio, --socket and --connect is enough"),
        (["-qtest", "tcp:1"], 123, "-qtest tcp:1: there are stdio and unix:PATH"),
        (["-mon", "chardev=c,mode=control"], 123, "no -chardev socket,path=PATH,id=c"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], status: int, said: str) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_program_that_starts_us_as_qemu_is_served(tmp_path: Path) -> None:
    """As QEMU's test library does it: two sockets, options of QEMU's, SIGTERM at the end."""
    paths = [str(tmp_path / name) for name in ("qtest", "qmp")]
    listeners = [socket.socket(socket.AF_UNIX) for _ in paths]
    for listener, path in zip(listeners, paths, strict=True):
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(20)
    options = (
        f"-qtest unix:{paths[0]} -qtest-log /dev/null -chardev socket,path={paths[1]},id=char0 "
        "-mon chardev=char0,mode=control -display none -audio none -machine virt,iommu=smmuv3 "
        "-smp 1 -m 64 -cpu max -net none -device edu,addr=0x4 -accel qtest"
    )
    process = subprocess.Popen([*COMMAND, *options.split()])
    try:
        links = [listener.accept()[0] for listener in listeners]
        qtest, qmp = (link.makefile("rw") for link in links)
        assert "QMP" in json.loads(qmp.readline())
        qtest.write("readl 0x4010020000\n")
        qtest.flush()
        assert qtest.readline() == "OK 0x0000000011e81234\n"
        process.terminate()
        assert process.wait(20) == 0
        assert qtest.readline() == ""
    finally:
        process.kill()
        process.wait()
        for link in [*links, *listeners]:
            link.close()
