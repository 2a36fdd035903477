# SPDX-License-Identifier: GPL-2.0-or-later
"""ARM_32_LPAE_S1 and ARM_32_LPAE_S2: the long-descriptor format of VMSAv8-32, 4K granules only.

The descriptors, attributes and registers are those of the 64-bit formats; input and output sizes
are smaller. Spec: DDI 0487 G5.5 (VMSAv8-32 long-descriptor format).
"""

from __future__ import annotations

from pgtable.config import PageTableConfig
from pgtable.formats import arm_64_lpae
from pgtable.formats.arm_64_lpae import Stage1Table, Stage2Table
from pgtable.formats.lpae_config import check_limit, only_4k
from pgtable.memory import TableMemory
from pgtable.registry import Format


def create_s1(fmt: str, asked: PageTableConfig, memory: TableMemory) -> Stage1Table:
    """Make a stage 1 table of at most 32 bits in and 40 out.

    Raises: ConfigRefusedError, OutOfTableMemoryError.
    """
    check_limit(asked, "ias", 32)
    check_limit(asked, "oas", 40)
    return arm_64_lpae.create_s1(fmt, only_4k(asked), memory)


def create_s2(fmt: str, asked: PageTableConfig, memory: TableMemory) -> Stage2Table:
    """Make a stage 2 table of at most 40 bits in and out.

    Raises: ConfigRefusedError, OutOfTableMemoryError.
    """
    check_limit(asked, "ias", 40)
    check_limit(asked, "oas", 40)
    return arm_64_lpae.create_s2(fmt, only_4k(asked), memory)


S1 = Format("ARM_32_LPAE_S1", create_s1, custom_allocator=True)
S2 = Format("ARM_32_LPAE_S2", create_s2, custom_allocator=True)
