# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m smmu_emu`` is ``smmu-emu``."""

from smmu_emu.cli import main

main()
