# SPDX-License-Identifier: GPL-2.0-or-later
"""``smmu-emu tables``: read page tables out of dumps; show, walk, compare, check and draw them.

Everything is done by `pgtable.inspect`, which is loaded when a subcommand runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgtable.errors import PgtableError
from smmu_emu.cli.parameters import NUMBER
from smmu_emu.errors import ConfigurationError

if TYPE_CHECKING:
    from pgtable.inspect import Image, Space, Tree

FORMATS = (
    "ARM_64_LPAE_S1",
    "ARM_64_LPAE_S2",
    "ARM_32_LPAE_S1",
    "ARM_32_LPAE_S2",
    "ARM_MALI_LPAE",
    "ARM_V7S",
    "APPLE_DART",
    "APPLE_DART2",
)
DIFFERENT = 1
"""Exit status when dumps differ, nothing was found, or something is wrong with the tables."""
LINES_AT_ONCE = 4096

_EPILOG = """\
Dumps: ADDRESS=FILE is raw memory that begins at a physical address (QEMU's pmemsave writes
such files); a plain FILE is an ELF core with physical addresses (dump-guest-memory). Several
may be given. Exit status: 0 yes or nothing wrong; 1 no, different, or errors found; 2 wrong usage;
123 a dump or a description that cannot be used.
"""


class _Tables(click.Group):
    """Turns the library's errors into the command line's."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PgtableError as error:
            raise ConfigurationError(str(error)) from error


@click.group("tables", cls=_Tables, epilog=_EPILOG)
def command() -> None:
    """Read page tables out of memory dumps."""


class _Root(click.ParamType[int | None]):
    """An address, or ``none`` for a TTBR that is not valid."""

    name = "address"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | None:
        if value is None or str(value).lower() == "none":
            return None
        return NUMBER.convert(value, param, ctx)


_Option = Callable[[Any], Any]

_FORMAT: tuple[_Option, ...] = (
    click.option(
        "--format",
        "fmt",
        type=click.Choice(FORMATS, case_sensitive=False),
        default=FORMATS[0],
        show_default=True,
        help="Format of the tables.",
    ),
    click.option("--granule", type=NUMBER, default=0, help="Page size: 4K, 16K, 64K."),
    click.option("--input-bits", type=int, default=0, help="Size of addresses in, in bits."),
    click.option("--output-bits", type=int, default=0, help="Size of addresses out, in bits."),
    click.option("--start-level", type=int, default=-1, help="First level, of stage 2 and DARTs."),
    click.option("--ttbr1", is_flag=True, help="The addresses are those of TTBR1."),
    click.option("--mair", type=NUMBER, help="MAIR (Mali: MEMATTR); default: as Linux sets it."),
    click.option("--fwb", is_flag=True, help="Stage 2 attributes as with FEAT_S2FWB."),
    click.option("--no-permissions", is_flag=True, help="ARM_V7S: the MMU has no access bits."),
    click.option("--mtk", is_flag=True, help="ARM_V7S: MediaTek's address bits in leaves."),
    click.option("--mtk-tables", is_flag=True, help="ARM_V7S: and in table descriptors."),
)
_ROOT: _Option = click.option(
    "--root",
    "roots",
    type=_Root(),
    multiple=True,
    required=True,
    help="Physical address of the first table; for DARTs once for each TTBR, or none.",
)
_MEMORY: _Option = click.option(
    "--memory", multiple=True, required=True, help="A dump: ADDRESS=FILE, or an ELF core."
)
_JSON: _Option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _with(*options: _Option) -> _Option:
    """Return a decorator that adds options, shown in this order."""

    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


_SPACE = (_ROOT, *_FORMAT)


def _space(roots: tuple[int | None, ...], options: dict[str, Any]) -> Space:
    """Make the space that the options describe."""
    from pgtable.inspect import Space

    mair = options["mair"]
    return Space(
        format=options["fmt"],
        root=roots,
        granule=options["granule"],
        input_bits=_positive("--input-bits", options["input_bits"]),
        output_bits=_positive("--output-bits", options["output_bits"]),
        start_level=options["start_level"],
        upper=options["ttbr1"],
        mair=-1 if mair is None else mair,
        fwb=options["fwb"],
        permissions=not options["no_permissions"],
        mtk=options["mtk"],
        mtk_tables=options["mtk_tables"],
    )


def _positive(name: str, value: int) -> int:
    if value < 0:
        raise ConfigurationError(f"{name} {value}: must not be negative")
    return value


def _image(memory: tuple[str, ...]) -> Image:
    from pgtable.inspect import load

    return load(*memory)


def _tree(options: dict[str, Any]) -> Tree:
    from pgtable.inspect import read

    return read(_space(options["roots"], options), _image(options["memory"]))


def _print(lines: Iterable[str]) -> None:
    """Print lines, many at once: a tree can have a million."""
    waiting = iter(lines)
    while batch := list(islice(waiting, LINES_AT_ONCE)):
        sys.stdout.write("\n".join(batch) + "\n")


def _print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=1)
    sys.stdout.write("\n")


# --- subcommands --------------------------------------------------------------------------


@command.command("show")
@_with(*_SPACE, _MEMORY)
@click.option(
    "--as",
    "style",
    type=click.Choice(["ranges", "brief", "tables", "ptdump", "json"]),
    default="ranges",
    show_default=True,
    help="ranges: what leads where; brief: wherever it leads; tables: the tree; ptdump: as Linux.",
)
def show(style: str, **options: Any) -> None:
    """Print what is mapped."""
    from pgtable.inspect import jsonable, ptdump, text

    tree = _tree(options)
    if style == "json":
        _print_json(jsonable.tree(tree))
    elif style == "ptdump":
        _print(ptdump.lines(tree))
    else:
        _print([str(tree.space)])
        _print({"ranges": text.flat, "brief": text.brief, "tables": text.nested}[style](tree))
        _print(text.summary(tree))


@command.command("walk")
@click.argument("addresses", type=NUMBER, nargs=-1, required=True)
@_with(*_SPACE, _MEMORY, _JSON)
def walk(addresses: tuple[int, ...], as_json: bool, **options: Any) -> None:
    """Walk input ADDRESSES, level by level."""
    from pgtable.inspect import jsonable, text
    from pgtable.inspect import walk as walk_one

    space, image = _space(options["roots"], options), _image(options["memory"])
    walks = [walk_one(space, image, address) for address in addresses]
    if as_json:
        _print_json([jsonable.walk(one) for one in walks])
    else:
        for one in walks:
            _print(text.walk(space, one))
    sys.exit(0 if all(one.target is not None for one in walks) else DIFFERENT)


@command.command("find")
@click.argument("address", type=NUMBER)
@click.option("--size", type=NUMBER, default=1, show_default=True, help="How many bytes.")
@_with(*_SPACE, _MEMORY, _JSON)
def find(address: int, size: int, as_json: bool, **options: Any) -> None:
    """Find who maps the physical ADDRESS."""
    from pgtable.inspect import find as find_in
    from pgtable.inspect import jsonable, text

    found = find_in(_tree(options), address, size)
    if as_json:
        _print_json(jsonable.found(found))
    else:
        _print(text.finds(address, size, found))
    sys.exit(0 if found.ranges else DIFFERENT)


@command.command("check")
@_with(*_SPACE, _MEMORY, _JSON)
def check(as_json: bool, **options: Any) -> None:
    """Look for what is illegal, inconsistent or suspicious."""
    from pgtable.inspect import jsonable, text

    findings = _tree(options).findings
    if as_json:
        _print_json(jsonable.findings(findings))
    else:
        _print(text.findings(findings))
    sys.exit(DIFFERENT if any(one.severity == "error" for one in findings) else 0)


@command.command("diff")
@click.option("--before", multiple=True, required=True, help="The older dump, as --memory.")
@click.option("--after", multiple=True, required=True, help="The newer dump, as --memory.")
@click.option("--root-after", type=_Root(), multiple=True, help="Its root, if that has changed.")
@click.option("--bbm", is_flag=True, help="Also tell which changes needed break-before-make.")
@click.option(
    "--bbm-level",
    type=click.IntRange(0, 2),
    default=0,
    show_default=True,
    help="What the hardware has: 1 is FEAT_BBML1, 2 is FEAT_BBML2.",
)
@_with(*_SPACE, _JSON)
def diff(
    before: tuple[str, ...],
    after: tuple[str, ...],
    root_after: tuple[int | None, ...],
    bbm: bool,
    bbm_level: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Tell what changed in meaning between two dumps."""
    from pgtable.inspect import changes, jsonable, read, text
    from pgtable.inspect import diff as compare

    old = read(_space(options["roots"], options), _image(before))
    new = read(_space(root_after or options["roots"], options), _image(after))
    found = compare.diff(old, new)
    unsafe = changes.unsafe_changes(old, new, bbm_level) if bbm else []
    if as_json:
        plain: dict[str, Any] = {"changes": [jsonable.change(one) for one in found]}
        if bbm:
            plain["break_before_make"] = [jsonable.unsafe(one) for one in unsafe]
        _print_json(plain)
    else:
        _print(text.changes(found))
        if bbm:
            _print(text.unsafe(unsafe))
    sys.exit(DIFFERENT if found or unsafe else 0)


@command.command("draw")
@_with(*_SPACE, _MEMORY)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The picture: a .svg file, or a .html page.",
)
@click.option("--title", default="", help="Heading of the picture.")
@click.option("--theme", type=click.Choice(["auto", "light", "dark"]), default="auto")
def draw(output: Path, title: str, theme: str, **options: Any) -> None:
    """Draw the address space as one picture."""
    from pgtable.inspect import picture

    kinds = {".svg": picture.svg, ".html": picture.html, ".htm": picture.html}
    make = kinds.get(output.suffix.lower())
    if make is None:
        raise ConfigurationError(f"--output {output}: the name must end in .svg or .html")
    output.write_text(make(_tree(options), title, theme), encoding="utf-8")


@command.command("decode")
@click.argument("words", type=NUMBER, nargs=-1, required=True)
@click.option("--level", type=int, help="The level they are on; default: the last one.")
@_with(*_FORMAT, _JSON)
def decode(words: tuple[int, ...], level: int | None, as_json: bool, **options: Any) -> None:
    """Take descriptors apart, in words."""
    from pgtable.inspect import jsonable, text

    space = _space((0,), options)
    numbers = [one.number for one in space.levels]
    if level is not None and level not in numbers:
        levels = ", ".join(map(str, numbers))
        raise ConfigurationError(f"--level {level}: this format has levels {levels} here")
    at = space.levels[-1] if level is None else space.reader.level(level)
    for word in words:
        if word >> 8 * at.width:
            raise ConfigurationError(f"{word:#x} is wider than a descriptor of {8 * at.width} bits")
    found = [space.reader.decode(word, at) for word in words]
    if as_json:
        _print_json([jsonable.descriptor(one) for one in found])
    else:
        for one in found:
            _print(text.decode(one, at.width))
