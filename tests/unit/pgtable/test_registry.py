# SPDX-License-Identifier: GPL-2.0-or-later
"""Formats by name: four answers, lazy loading, use counts, threads."""

from __future__ import annotations

import sys
import threading
import types
from typing import Any

import pytest
from pgtable_helpers import BASE, K4, RW, cfg

from pgtable import (
    Arena,
    ConfigRefusedError,
    Format,
    FormatAlreadyRegisteredError,
    FormatError,
    FormatInUseError,
    FormatNotLoadableError,
    OutOfTableMemoryError,
    PageTable,
    PageTableConfig,
    Quirk,
    Registry,
    State,
    TableMemory,
    UnknownFormatError,
    alloc,
    formats,
    free,
    register,
    unregister,
)
from pgtable.registry import IN_TREE


def nothing(name: str, cfg: PageTableConfig, memory: TableMemory) -> PageTable[Any]:
    raise OutOfTableMemoryError(0)


def borrowed(name: str) -> Format:
    """Return a format of another name that makes ARM_64_LPAE_S1's tables."""
    return Format(name, formats.load("ARM_64_LPAE_S1").create)


@pytest.fixture
def registry() -> Registry:
    return Registry(entry_points=False)


@pytest.mark.parametrize("name", sorted(IN_TREE))
def test_every_format_of_this_package_loads_under_its_name(registry: Registry, name: str) -> None:
    assert registry.status(name).state is State.KNOWN
    assert registry.load(name).name == name
    status = registry.status(name)
    assert (status.state, status.tables, status.origin) == (State.LOADED, 0, "this package")


def test_an_unknown_format_is_said_to_be_unknown_with_what_is_known(registry: Registry) -> None:
    with pytest.raises(UnknownFormatError, match="unknown page table format 'RISCV_SV48'") as error:
        registry.alloc("RISCV_SV48", cfg())
    assert "ARM_V7S" in error.value.known
    assert registry.status("RISCV_SV48").state is State.UNKNOWN
    with pytest.raises(UnknownFormatError, match="did you mean ARM_64_LPAE_S1"):
        registry.alloc("arm_64_lpae_s1", cfg())


def test_a_format_that_fails_to_import_keeps_its_error_until_refreshed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = Registry({"GONE": "no_such_module_here:FORMAT"}, entry_points=False)
    for _ in range(2):
        with pytest.raises(FormatNotLoadableError, match="ModuleNotFoundError") as caught:
            registry.alloc("GONE", cfg())
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)
        assert caught.value.reason is registry.status("GONE").error
    assert registry.status("GONE").state is State.NOT_LOADABLE
    module = types.ModuleType("no_such_module_here")
    module.FORMAT = borrowed("GONE")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "no_such_module_here", module)
    with pytest.raises(FormatNotLoadableError):
        registry.load("GONE")  # the answer stays the same until somebody asks to look again
    registry.refresh()
    registry.alloc("GONE", cfg(), Arena(BASE, 1 << 20)).close()


@pytest.mark.parametrize("thing", [None, 7, Format("OTHER", nothing)])
def test_what_is_no_format_of_that_name_is_not_loadable(
    monkeypatch: pytest.MonkeyPatch, thing: object
) -> None:
    module = types.ModuleType("odd_format")
    module.FORMAT = thing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "odd_format", module)
    registry = Registry({"ODD": "odd_format:FORMAT"}, entry_points=False)
    with pytest.raises(FormatNotLoadableError, match="not to a Format named 'ODD'"):
        registry.load("ODD")


@pytest.mark.parametrize(
    ("fmt", "kw", "field", "limit"),
    [
        ("ARM_64_LPAE_S1", {"bitmap": 0x2000}, "pgsize_bitmap", "no granule"),
        ("ARM_64_LPAE_S1", {"bitmap": 0}, "pgsize_bitmap", "no granule"),
        ("ARM_64_LPAE_S1", {"oas": 41}, "oas", "one of 32, 36, 40, 42, 44, 48, 52 bits"),
        ("ARM_64_LPAE_S1", {"ias": 12}, "ias", "more than a page's 12 bits"),
        ("ARM_64_LPAE_S1", {"quirks": Quirk.NO_PERMS}, "quirks", "accepted quirks: "),
        ("ARM_64_LPAE_S1", {"quirks": Quirk.ARM_OUTER_WBWA}, "quirks", "not coherent"),
        ("ARM_64_LPAE_S2", {"quirks": Quirk.ARM_NS}, "quirks", "accepted quirks: "),
        ("ARM_64_LPAE_S2", {"oas": 40}, "ias", "512 concatenated tables"),
        ("ARM_32_LPAE_S1", {"ias": 33}, "ias", "at most 32 bits"),
        ("ARM_32_LPAE_S2", {"ias": 40, "oas": 42}, "oas", "at most 40 bits"),
        ("ARM_MALI_LPAE", {"ias": 48, "oas": 41}, "oas", "at most 40 bits"),
        ("ARM_MALI_LPAE", {"oas": 40, "quirks": 1}, "quirks", "accepted quirks: none"),
        ("ARM_V7S", {"ias": 33, "oas": 32}, "ias", "at most 32 bits"),
        ("ARM_V7S", {"ias": 19, "oas": 32}, "ias", "at least 20 bits"),
        ("ARM_V7S", {"ias": 32, "oas": 32, "quirks": Quirk.ARM_MTK_EXT}, "quirks", "NO_PERMS"),
        ("APPLE_DART", {"bitmap": K4, "ias": 32, "oas": 40}, "oas", "36 or 42 bits"),
        ("APPLE_DART", {"bitmap": K4, "ias": 42, "oas": 42}, "ias", "at most 41 bits"),
        ("APPLE_DART", {"ias": 32, "oas": 36}, "pgsize_bitmap", "exactly 4K"),
        ("APPLE_DART", {"ias": 32, "oas": 36, "coherent_walk": False}, "coherent_walk", "caches"),
    ],
)
def test_a_refused_configuration_names_field_and_limit(
    fmt: str, kw: dict[str, Any], field: str, limit: str
) -> None:
    memory = Arena(BASE, 1 << 20)
    with pytest.raises(ConfigRefusedError, match=limit) as caught:
        alloc(fmt, cfg(**kw), memory=memory)
    assert (caught.value.field, caught.value.fmt) == (field, fmt)
    assert str(caught.value).startswith(f"{fmt}: {field} = ")
    assert memory.live == {}
    assert formats.status(fmt).state is State.LOADED


@pytest.mark.parametrize(
    ("field", "value"),
    [("ias", -1), ("oas", "48"), ("pgsize_bitmap", 4096.0), ("quirks", None), ("cpu_page_size", 3)],
)
def test_a_configuration_of_nonsense_is_refused_when_it_is_made(field: str, value: Any) -> None:
    fields: dict[str, Any] = {"pgsize_bitmap": K4, "ias": 48, "oas": 48, field: value}
    with pytest.raises(ConfigRefusedError) as caught:
        PageTableConfig(**fields)
    assert caught.value.field == field


def test_registering_twice_and_over_another_are_errors(registry: Registry) -> None:
    mine = borrowed("MINE")
    registry.register(mine)
    with pytest.raises(FormatAlreadyRegisteredError, match="this very format"):
        registry.register(mine)
    with pytest.raises(FormatAlreadyRegisteredError, match="another format"):
        registry.register(borrowed("MINE"))
    with pytest.raises(FormatError, match=r"needs a pgtable\.Format"):
        registry.register("MINE")  # type: ignore[arg-type]


def test_unregistering_twice_is_an_error_and_registering_again_is_not(registry: Registry) -> None:
    mine = borrowed("MINE")
    registry.register(mine)
    registry.unregister("MINE")
    with pytest.raises(FormatError, match="not registered"):
        registry.unregister("MINE")
    with pytest.raises(UnknownFormatError):
        registry.load("MINE")
    registry.register(mine)


def test_a_format_in_use_cannot_be_unregistered_and_says_by_how_many(registry: Registry) -> None:
    registry.register(borrowed("MINE"))
    tables = [registry.alloc("MINE", cfg(), Arena(BASE, 1 << 20)) for _ in range(2)]
    with pytest.raises(FormatInUseError, match="in use by 2 tables") as caught:
        registry.unregister("MINE")
    assert caught.value.tables == 2
    tables[0].close()
    tables[0].close()
    with pytest.raises(FormatInUseError, match="in use by 1 table;"):
        registry.unregister("MINE")
    tables[1].close()
    registry.unregister("MINE")


def test_a_failed_creation_does_not_pin_the_format(registry: Registry) -> None:
    registry.register(Format("EMPTY", nothing))
    with pytest.raises(OutOfTableMemoryError):
        registry.alloc("EMPTY", cfg())
    with pytest.raises(ConfigRefusedError):
        registry.alloc("EMPTY", cfg(alloc=lambda size: None))
    assert registry.status("EMPTY").tables == 0
    registry.unregister("EMPTY")


def test_a_format_of_this_package_can_be_replaced_and_brought_back(registry: Registry) -> None:
    registry.load("ARM_V7S")
    registry.unregister("ARM_V7S")
    with pytest.raises(FormatNotLoadableError, match="it was unregistered"):
        registry.alloc("ARM_V7S", cfg())
    registry.register(borrowed("ARM_V7S"))
    registry.alloc("ARM_V7S", cfg()).close()
    registry.unregister("ARM_V7S")
    registry.refresh()
    assert registry.status("ARM_V7S").state is State.KNOWN
    assert registry.load("ARM_V7S") is formats.load("ARM_V7S")


def test_freeing_reaches_the_code_that_allocated(registry: Registry) -> None:
    freed = []

    def make(name: str, asked: PageTableConfig, memory: TableMemory) -> PageTable[Any]:
        class Own(type(formats.load("ARM_64_LPAE_S1").create(name, asked, memory))):  # type: ignore[misc]
            def _free_tables(self) -> None:
                freed.append(self.fmt)
                super()._free_tables()

        table = formats.load("ARM_64_LPAE_S1").create(name, asked, memory)
        table.__class__ = Own
        return table

    registry.register(Format("OWN", make))
    table = registry.alloc("OWN", cfg())
    free(table)
    assert freed == ["OWN"]
    assert registry.status("OWN").tables == 0


def test_the_shared_registry_takes_formats_at_run_time() -> None:
    register(borrowed("MY_FORMAT"))
    try:
        with alloc("MY_FORMAT", cfg(), memory=Arena(BASE, 1 << 20)) as table:
            table.map(0, K4, K4, RW)
            assert table.fmt == "MY_FORMAT"
            assert "MY_FORMAT" in formats.names()
    finally:
        unregister("MY_FORMAT")


def test_use_counts_are_right_under_threads(registry: Registry) -> None:
    registry.register(borrowed("MINE"))
    start = threading.Barrier(8)
    errors: list[BaseException] = []

    def use() -> None:
        start.wait()
        try:
            for _ in range(50):
                with registry.alloc("MINE", cfg(), Arena(BASE, 1 << 16)) as table:
                    table.map(0, 0, K4, RW)
                    with pytest.raises(FormatInUseError):
                        registry.unregister("MINE")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert registry.status("MINE").tables == 0
    registry.unregister("MINE")


def test_first_use_by_many_threads_loads_one_format(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("slow_format")
    loads = []
    gate = threading.Event()

    def late(name: str) -> Any:
        if name != "FORMAT":
            raise AttributeError(name)
        gate.wait(10)
        loads.append(name)
        return borrowed("SLOW")

    module.__getattr__ = late  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "slow_format", module)
    registry = Registry({"SLOW": "slow_format:FORMAT"}, entry_points=False)
    found: list[Format] = []
    threads = [
        threading.Thread(target=lambda: found.append(registry.load("SLOW"))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    assert registry.status("SLOW").state is State.KNOWN  # nobody holds the registry's lock
    gate.set()
    for thread in threads:
        thread.join(20)
    assert len({id(fmt) for fmt in found}) == 1
    assert len(found) == 6
