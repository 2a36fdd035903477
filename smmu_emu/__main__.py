# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m smmu_emu``: the command line, where its script is not on the path."""

from smmu_emu.cli import main

main()
