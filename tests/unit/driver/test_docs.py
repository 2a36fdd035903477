# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples of docs/driver.md run, one after another."""

from __future__ import annotations

import re
from pathlib import Path

DOC = Path(__file__).resolve().parents[3] / "docs" / "driver.md"


def test_examples_of_the_document_run() -> None:
    text = DOC.read_text()
    blocks = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert len(blocks) == 6
    names: dict[str, object] = {}
    for block in blocks:
        above = "\n" * text.count("\n", 0, block.start(1))  # so that errors name the right line
        exec(compile(above + block[1], str(DOC), "exec"), names)
