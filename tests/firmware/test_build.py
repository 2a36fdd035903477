# SPDX-License-Identifier: GPL-2.0-or-later
"""The committed images are, byte for byte, what their sources give on any machine."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware"
IMAGES = sorted((FIRMWARE / "images").glob("*.elf"))
IDS = [image.stem for image in IMAGES]

LOWEST_ADDRESS = 0x4010_0000
RAM_END = 0x6000_0000
LARGEST_IMAGE = 60 * 1024

needs_ziglang = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None,
    reason="ziglang is not installed: pip install 'smmu-emu[test]'",
)


def script(name: str) -> ModuleType:
    """A script of the firmware folder, as a module."""
    spec = importlib.util.spec_from_file_location(f"firmware_{name}", FIRMWARE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_source_has_a_committed_image() -> None:
    sources = {path.stem for path in (FIRMWARE / "tests").iterdir()}
    assert sources == set(IDS)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.elf")}


@needs_ziglang
def test_images_rebuilt_elsewhere_are_the_same_bytes(tmp_path: Path) -> None:
    elsewhere = tmp_path / "another" / "folder" / "firmware"
    shutil.copytree(FIRMWARE, elsewhere)
    for image in (elsewhere / "images").rglob("*.elf"):
        image.unlink()
    command = [sys.executable, str(elsewhere / "build.py")]
    subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=tmp_path)
    assert contents(elsewhere / "images") == contents(FIRMWARE / "images")


@needs_ziglang
def test_check_names_an_image_that_differs(tmp_path: Path) -> None:
    elsewhere = tmp_path / "firmware"
    shutil.copytree(FIRMWARE, elsewhere)
    image = elsewhere / "images" / "hello.elf"
    damaged = bytearray(image.read_bytes())
    damaged[-1] ^= 1
    image.write_bytes(damaged)
    (elsewhere / "images" / "spin.elf").unlink()
    (elsewhere / "images" / "stray.elf").write_bytes(b"")
    command = [sys.executable, str(elsewhere / "build.py"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    named = [line.split(":")[0] for line in done.stdout.splitlines() if ".elf:" in line]
    assert named == ["hello.elf", "spin.elf", "stray.elf"]


def test_build_without_the_right_ziglang_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = script("build")
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(build.BuildError, match=r"pip install ziglang==0\.13\.0"):
        build.find_zig()


def test_blob_is_what_pgtable_writes() -> None:
    blob = script("make_blob").make_blob()
    assert (FIRMWARE / "images" / "dma_blob.tables").read_bytes() == blob


@pytest.mark.parametrize("image", IMAGES, ids=IDS)
def test_image_is_small_and_lies_in_ram(image: Path) -> None:
    assert image.stat().st_size <= LARGEST_IMAGE
    with image.open("rb") as file:
        elf = ELFFile(file)
        assert elf["e_machine"] == "EM_AARCH64"
        assert elf["e_entry"] >= LOWEST_ADDRESS
        loaded = [s for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"]
        assert loaded
        for segment in loaded:
            assert segment["p_paddr"] == segment["p_vaddr"] >= LOWEST_ADDRESS
            assert segment["p_paddr"] + segment["p_memsz"] <= RAM_END


@pytest.mark.parametrize("image", IMAGES, ids=IDS)
def test_image_has_line_numbers_with_relative_paths(image: Path) -> None:
    with image.open("rb") as file:
        elf = ELFFile(file)
        dwarf = elf.get_dwarf_info()
        names = set()
        for unit in dwarf.iter_CUs():
            assert unit["version"] == 4
            top = unit.get_top_DIE()
            assert top.attributes["DW_AT_comp_dir"].value == b"."
            names.add(top.attributes["DW_AT_name"].value.decode())
            program = dwarf.line_program_for_CU(unit)
            assert program is not None
            folders = [entry.decode() for entry in program["include_directory"]]
            assert not [folder for folder in folders if Path(folder).is_absolute()]
    assert any(Path(name).stem == image.stem for name in names)
    assert all((ROOT / name).is_file() for name in names)
