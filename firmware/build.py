#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the firmware images, the same bytes on every machine.

Each file in ``tests/`` becomes one ELF in ``images/``, linked with the library in ``lib/``; those
in ``aarch32/`` are for 32-bit cores, with a library of their own and images in ``images/aarch32``.
The toolchain is clang and lld of one fixed version, from PyPI's ``ziglang`` (the extra ``test``).
Nothing of the machine enters an image: paths in the debug information are relative to the folder
that holds ``firmware/``, and the linker writes no build id.

    python firmware/build.py            # build into firmware/images
    python firmware/build.py --check    # build elsewhere, compare with the committed images
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ZIG_VERSION = "0.13.0"

FIRMWARE = Path("firmware")  # every path given to the compiler is relative to ROOT
ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / FIRMWARE / "images"

COMMON_FLAGS = [
    "-gdwarf-4",
    "-gline-tables-only",
    "-gno-column-info",
    "-fdebug-compilation-dir=.",
]
C_FLAGS = [
    "-std=gnu11",
    "-Os",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-inline-functions",
    "-fno-pic",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-omit-frame-pointer",
    "-ffunction-sections",
    "-fdata-sections",
    "-nostdinc",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wmissing-prototypes",
    "-Wshadow",
    "-Wvla",
]
LINK_FLAGS = [
    "-T",
    f"{FIRMWARE}/link.ld",
    "--gc-sections",
    "--build-id=none",
    "--nmagic",
    "--no-rosegment",
    "--discard-locals",
]


class Kind(NamedTuple):
    """One execution state: its folder under the firmware's and the images', and its flags."""

    folder: str
    target: list[str]
    c_flags: list[str]


AARCH64 = Kind(
    "",
    ["--target=aarch64-none-elf", "-mcpu=cortex-a57"],
    ["-mgeneral-regs-only", "-mstrict-align", f"-I{FIRMWARE}/include"],
)
AARCH32 = Kind(
    "aarch32",
    ["--target=arm-none-eabi", "-mcpu=cortex-a15", "-mfloat-abi=soft", "-mfpu=none"],
    ["-mno-unaligned-access", f"-I{FIRMWARE}/aarch32/include", f"-I{FIRMWARE}/include"],
)
KINDS = (AARCH64, AARCH32)


class BuildError(Exception):
    """The toolchain is missing or refused a source; the message says which and what to do."""


def find_zig() -> Path:
    """The zig binary of PyPI's ``ziglang``.

    Raises: BuildError when it is absent or of another version.
    """
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise BuildError(f"no ziglang here: pip install ziglang=={ZIG_VERSION}")
    zig = Path(spec.origin).with_name("zig.exe" if os.name == "nt" else "zig")
    version = subprocess.run([zig, "version"], capture_output=True, text=True, check=True)
    if version.stdout.strip() != ZIG_VERSION:
        raise BuildError(
            f"ziglang {version.stdout.strip()} would give other bytes than the committed images: "
            f"pip install ziglang=={ZIG_VERSION}"
        )
    return zig


class Toolchain:
    """clang, ar and lld as zig carries them; no cache, no configuration, no environment."""

    def __init__(self, zig: Path) -> None:
        self.zig = zig
        headers = zig.parent / "lib" / "include"
        self.header_flags = ["-isystem", str(headers), f"-ffile-prefix-map={headers}=include"]

    def run(self, tool: str, *arguments: str) -> None:
        """Runs one tool from ROOT. Raises: BuildError with what the tool said."""
        command = [str(self.zig), tool, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"{tool} {' '.join(arguments)}\n{done.stderr}{done.stdout}")

    def compile(self, kind: Kind, source: Path, output: Path) -> Path:
        """Compiles or assembles one source (relative to ROOT)."""
        flags = [*kind.target, *COMMON_FLAGS]
        if source.suffix == ".c":
            flags += [*C_FLAGS, *kind.c_flags, *self.header_flags]
        self.run("clang", *flags, "-c", source.as_posix(), "-o", str(output))
        return output

    def archive(self, objects: Sequence[Path], output: Path) -> Path:
        """Puts objects in an archive, without dates and owners."""
        self.run("ar", "rcsD", str(output), *map(str, objects))
        return output

    def link(self, objects: Sequence[Path], output: Path) -> Path:
        """Links one image."""
        self.run("ld.lld", *LINK_FLAGS, *map(str, objects), "-o", str(output))
        return output


def sources(folder: str) -> list[Path]:
    """The C and assembly files of a folder of the firmware, relative to ROOT, in order."""
    place = ROOT / FIRMWARE / folder.lstrip("/")
    found = [p for p in place.iterdir() if p.suffix in (".c", ".S")]
    return sorted(p.relative_to(ROOT) for p in found)


def build(output: Path) -> list[Path]:
    """Builds every image into a folder and returns their paths.

    Raises: BuildError.
    """
    tools = Toolchain(find_zig())
    return [path for kind in KINDS for path in _build_kind(tools, kind, output / kind.folder)]


def _build_kind(tools: Toolchain, kind: Kind, output: Path) -> list[Path]:
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor() as pool:
        work = Path(temporary)

        def compiled(source: Path) -> Path:
            return tools.compile(kind, source, work / f"{source.parent.name}_{source.stem}.o")

        library_objects = list(pool.map(compiled, sources(f"{kind.folder}/lib")))
        library = tools.archive(library_objects, work / "library.a")

        def image(source: Path) -> Path:
            return tools.link([compiled(source), library], output / f"{source.stem}.elf")

        return list(pool.map(image, sources(f"{kind.folder}/tests")))


def differences(fresh: Path, committed: Path) -> list[str]:
    """One line for each image that differs, is missing or has no source."""
    names = {
        path.relative_to(folder) for folder in (fresh, committed) for path in folder.rglob("*.elf")
    }
    lines = []
    for name in sorted(names):
        if not (committed / name).exists():
            lines.append(f"{name}: not committed")
        elif not (fresh / name).exists():
            lines.append(f"{name}: committed, but no source builds it")
        elif (fresh / name).read_bytes() != (committed / name).read_bytes():
            lines.append(f"{name}: differs from what its source gives")
    return lines


def check() -> int:
    """Rebuilds into a temporary folder and compares; the exit status."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        count = len(build(fresh))
        lines = differences(fresh, IMAGES)
    for line in lines:
        print(line)
    if lines:
        print("run firmware/build.py and commit the images")
        return 1
    print(f"{count} images are what their sources give")
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="build the firmware images")
    parser.add_argument("--check", action="store_true", help="compare with the committed images")
    parser.add_argument("--output", type=Path, default=IMAGES, help="folder for the images")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            return check()
        for path in build(arguments.output.resolve()):
            print(f"{path.stat().st_size:7}  {path.name}")
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
