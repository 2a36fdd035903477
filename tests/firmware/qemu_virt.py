# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's virt board as a second machine for the firmware images, where it is installed.

``qemu-system-aarch64`` must have the device ``iommu-testdev`` (QEMU 11.1). The environment variable
``SMMU_EMU_QEMU`` names another command, with arguments if need be. Images for the device ``edu``
run on older ones as well, as Debian 12 has (7.2).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[2] / "firmware" / "images"
EXPECTED = Path(__file__).resolve().parent / "expected"

MACHINE = shlex.split(
    "-M virt,acpi=off,iommu=smmuv3 -cpu cortex-a57 -m 512 -nodefaults "
    "-device iommu-testdev -display none -serial stdio -semihosting"
)

NEVER_END = {"spin", "bad_vectors", "jump_nowhere"}
STATUS = {"crash": 99}
"""Exit statuses other than 0."""

BESIDE = {"dma_blob": (IMAGES / "dma_blob.tables", 0x4800_0000)}
"""Files that an image wants loaded beside it, and where."""


EDU_MACHINE = [
    *(part.replace("iommu-testdev", "edu,addr=1") for part in MACHINE),
]


@cache
def find_qemu() -> tuple[list[str], str]:
    """The command that starts a fitting QEMU; or an empty one, and why there is none."""
    command = shlex.split(os.environ.get("SMMU_EMU_QEMU", "qemu-system-aarch64"))
    if shutil.which(command[0]) is None:
        return [], f"{command[0]} is not installed"
    if "iommu-testdev options" not in _help(command, "iommu-testdev"):
        return [], f"{command[0]} has no iommu-testdev: QEMU 11.1 or later is needed"
    return command, ""


def find_qemus_with_edu() -> list[list[str]]:
    """Commands that start a QEMU with edu: the system's, and the one that SMMU_EMU_QEMU names."""
    commands = {"qemu-system-aarch64", os.environ.get("SMMU_EMU_QEMU", "qemu-system-aarch64")}
    return [
        command
        for command in map(shlex.split, sorted(commands))
        if shutil.which(command[0]) is not None and "dma_mask" in _help(command, "edu")
    ]


@cache
def _asked(command: tuple[str, ...]) -> str:
    asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return asked.stdout


def _help(command: list[str], device: str) -> str:
    return _asked((*command, "-device", f"{device},help"))


def version(command: list[str]) -> tuple[int, ...]:
    """Major and minor version."""
    first = _asked((*command, "--version")).partition("version ")[2]
    return tuple(int(part) for part in first.split(".")[:2])


def run(name: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs an image to its end: UART text is stdout, semihosting text is stderr."""
    command = [*find_qemu()[0], *MACHINE, "-kernel", str(IMAGES / f"{name}.elf")]
    if name in BESIDE:
        path, address = BESIDE[name]
        command += ["-device", f"loader,file={path},addr={address:#x},force-raw=on"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
