# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorded console texts are what QEMU prints, if it can, and none is missing."""

from __future__ import annotations

import pytest
import qemu_virt
import setups

NAMES = sorted(image.stem for image in qemu_virt.IMAGES.glob("*.elf"))
ENDING = [name for name in NAMES if name not in qemu_virt.NEVER_END]


def test_every_image_that_ends_has_a_recorded_text() -> None:
    recorded = sorted(path.stem for path in qemu_virt.EXPECTED.glob("*.txt"))
    assert recorded == ENDING


@pytest.mark.parametrize("name", [name for name in ENDING if name not in setups.SETUPS])
def test_image_on_qemu_prints_the_recorded_text(name: str) -> None:
    command, why_not = qemu_virt.find_qemu()
    if not command:
        pytest.skip(why_not)
    done = qemu_virt.run(name)
    # Semihosting's text is alone on stderr; QEMU itself says nothing there.
    assert done.stdout + done.stderr == (qemu_virt.EXPECTED / f"{name}.txt").read_text()
    assert done.returncode == qemu_virt.STATUS.get(name, 0)
