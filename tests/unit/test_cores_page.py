# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples of docs/cores.md run, and the texts in it are what images print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOC = ROOT / "docs" / "cores.md"


def test_examples_of_the_page_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = DOC.read_text()
    (block,) = re.finditer(r"```python\n(.*?)```", text, re.DOTALL)
    above = "\n" * text.count("\n", 0, block.start(1))  # so that errors name the right line
    exec(compile(above + block[1], str(DOC), "exec"), {})


@pytest.mark.parametrize("image", ["core_stream", "aarch32/dma"])
def test_output_on_the_page_is_what_the_image_prints(image: str) -> None:
    printed = (ROOT / "tests" / "firmware" / "expected" / f"{image}.txt").read_text()
    session = DOC.read_text().split(f"smmu-emu run firmware/images/{image}.elf")[1]
    shown = session.split("    ...\n")[1].split("\n\n")[0]
    assert "\n".join(line.removeprefix("    ") for line in shown.splitlines()) in printed
