# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes ``vmlinuz``, ``initrd.cpio`` and ``u-boot.bin`` from Debian's packages, unmodified.

    python -m tests.linux.build FOLDER [PACKAGE]

downloads PACKAGE (by default what linux-image-cloud-arm64 stands for), busybox-static and
u-boot-qemu into FOLDER, if they are not there, and unpacks them with dpkg-deb. The initial RAM disk
holds busybox, the virtio modules and an init that ends in a shell. Downloads need
``dpkg --add-architecture arm64`` and ``apt-get update``, once.
"""

from __future__ import annotations

import lzma
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

KERNEL_PACKAGE = "linux-image-cloud-arm64:arm64"
BUSYBOX_PACKAGE = "busybox-static:arm64"
U_BOOT_PACKAGE = "u-boot-qemu"
MODULES = ("virtio_mmio", "virtio_pci", "virtio_blk", "virtio_net", "virtio_console")
"""With all that they depend on."""

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read module; do insmod /modules/$module.ko; done < /modules/order
echo "init is done"
exec sh
"""


class Entry(NamedTuple):
    """A file of an archive: ``mode`` with its type, ``data`` a file's bytes or a link's target."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def newc(entries: Iterable[Entry]) -> bytes:
    """An archive in the "new ASCII" format of cpio, which Linux unpacks as its first root."""
    archive = bytearray()
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.name.encode() + b"\0"
        fields = (
            *(number, entry.mode, 0, 0, 1, 0, len(entry.data)),
            *(0, 0, *entry.device, len(name), 0),
        )
        archive += b"070701" + b"".join(b"%08x" % field for field in fields) + name
        archive += bytes(-len(archive) % 4) + entry.data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def initrd(busybox: bytes, modules: dict[str, bytes]) -> bytes:
    """The initial RAM disk; ``modules`` by name, in the order in which they are inserted."""
    folders = ("bin", "dev", "proc", "sys", "modules", "tmp")
    entries = [Entry(name, stat.S_IFDIR | 0o755) for name in folders]
    entries += [
        Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        Entry("init", stat.S_IFREG | 0o755, INIT.encode()),
        Entry("bin/busybox", stat.S_IFREG | 0o755, busybox),
        Entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
        Entry("modules/order", stat.S_IFREG | 0o644, "".join(f"{n}\n" for n in modules).encode()),
    ]
    for name, data in modules.items():
        entries.append(Entry(f"modules/{name}.ko", stat.S_IFREG | 0o644, data))
    return newc(entries)


def find_modules(root: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """The modules below ``root`` and all they depend on, dependencies first.

    What a kernel has built in is no module, and left out.
    """
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        paths = sorted(root.rglob(f"{name}.ko*"))
        if name not in found and paths:
            data = _unpacked(paths[0])
            for needed in _dependencies(data):
                add(needed)
            found[name] = data

    for name in wanted:
        add(name)
    return found


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _dependencies(module: bytes) -> Iterator[str]:
    """What a module's information says that it depends on."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    if match is not None:
        yield from (name for name in match[1].decode().split(",") if name)


def build(folder: Path, kernel_package: str = KERNEL_PACKAGE) -> None:
    """Make all three in a folder, from packages that are downloaded there."""
    folder.mkdir(parents=True, exist_ok=True)
    kernel_deb = _package(folder, _real_name(kernel_package))
    busybox_deb = _package(folder, BUSYBOX_PACKAGE)
    u_boot_deb = _package(folder, U_BOOT_PACKAGE)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for deb in (kernel_deb, busybox_deb, u_boot_deb):
            subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
        (kernel,) = (root / "boot").glob("vmlinuz-*")
        busybox = next(path for path in root.rglob("bin/busybox") if path.is_file())
        modules = find_modules(root, MODULES)
        (folder / "initrd.cpio").write_bytes(initrd(busybox.read_bytes(), modules))
        (folder / "vmlinuz").write_bytes(kernel.read_bytes())
        u_boot = root / "usr" / "lib" / "u-boot" / "qemu_arm64" / "u-boot.bin"
        (folder / "u-boot.bin").write_bytes(u_boot.read_bytes())


def _real_name(package: str) -> str:
    """The package with the kernel that a package without version stands for today."""
    done = subprocess.run(
        ["apt-cache", "depends", package], capture_output=True, text=True, check=False
    )
    names = re.findall(r"Depends: (linux-image-\S+)", done.stdout)
    return names[0] if names else package


def _package(folder: Path, package: str) -> Path:
    """The package's file; downloaded unless it is there."""
    pattern = f"{package.partition(':')[0]}_*.deb"
    if not list(folder.glob(pattern)):
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
    return sorted(folder.glob(pattern))[-1]


if __name__ == "__main__":
    build(Path(sys.argv[1]), *sys.argv[2:3])
