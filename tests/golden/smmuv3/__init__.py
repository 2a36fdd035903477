# SPDX-License-Identifier: GPL-2.0-or-later
"""The witness for the SMMUv3: QEMU's recorded behaviour, and a twin of QEMU that explains it.

``twin.Twin`` is a small model of QEMU 11.1's SMMUv3. Given the steps of a recorded scenario it must
yield what was recorded, and it names, step by step, the points at which QEMU left the architecture
(``deviations``). ``replay`` drives the emulated device (``device``) and the twin side by side:
where device and record differ, the record must be the twin's prediction and carry a name.

From a step to its end, QEMU's way: ``twin`` (steps, queues), ``registers``, ``commands`` and
``invalidate``; ``translate``, ``config``, ``context``, ``stage1``, ``stage2``, ``descriptor``,
``tlb``, ``events``; ``system`` is the memory behind it, ``fields`` the words in it.

The twin knows nothing of the emulator: it imports nothing of ``smmu_emu``.
"""
