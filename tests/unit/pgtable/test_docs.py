# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples of docs/pgtable.md and of the package's docstring do what they say."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pgtable

DOC = Path(__file__).parents[3] / "docs" / "pgtable.md"


def test_the_examples_of_the_document_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOC.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 3
    exec("\n".join(blocks), {})


def test_the_example_of_the_docstring_runs() -> None:
    assert pgtable.__doc__ is not None
    example = "\n".join(line for line in pgtable.__doc__.splitlines() if line.startswith("    "))
    exec(textwrap.dedent(example), {})


def test_the_document_names_every_format() -> None:
    text = DOC.read_text()
    for name in pgtable.registry.IN_TREE:
        assert f"| {name} |" in text
