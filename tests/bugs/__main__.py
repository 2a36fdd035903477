# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m tests.bugs``: prove that each seeded bug is found, and write the table."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from tests.bugs.proof import all_proofs, check_image, check_life, record_qemu, tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "seeded_bugs.md"
HEAD = """\
# Seeded bugs

Drivers with one mistake each, and what finds it. The C driver is `firmware/images/bugs.elf`, which
takes the mistake's name from its command line; the Python driver is patched (`tests/bugs`). Each
bug is first run with `--check` alone, then with `--check --provenance`, then under a policy.

    $ smmu-emu run firmware/images/bugs.elf --append tlbi-last-missed --check

`python -m tests.bugs` writes this page.

"""


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bugs", description=__doc__)
    parser.add_argument("--qemu", help="record what this QEMU, with its machine, does")
    arguments = parser.parse_args()
    if arguments.qemu is not None:
        record_qemu(shlex.split(arguments.qemu))
    image, life = all_proofs()
    PAGE.write_text(HEAD + "\n".join(tables(image, life)) + "\n")
    for one in image + life:
        print(f"{one.name:24}{one.how or 'NOT CAUGHT':36}{', '.join(one.findings)}")
    wrong = [*check_image("none")[0], *check_life(None)[0]]
    print(f"correct drivers: {', '.join(wrong) or 'no finding'}")
    return 1 if wrong or not all(one.caught for one in image + life) else 0


if __name__ == "__main__":
    sys.exit(main())
