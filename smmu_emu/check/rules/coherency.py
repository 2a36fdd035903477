# SPDX-License-Identifier: GPL-2.0-or-later
"""non-coherent-table-write: tables written by cached stores, and walked past the caches.

The emulator's core has no data cache, so such a bug has no effect here; it is told from what
software configured. Cache maintenance cannot be seen, so this is advice: a driver that cleans each
descriptor to the point of coherency is right.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.check.findings import ADVICE, Found, Kind, story_of
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.ste import STE, Config
from smmu_emu.trace.events import ConfigFetch

KIND = Kind(
    "non-coherent-table-write",
    ADVICE,
    "walks do not look into the caches that the core writes tables through",
    "IHI 0070 3.15, 5.4 (IR0, OR0, SH0), 5.2 (S2IR0, S2OR0), 6.3.1 (COHACC): walks that are not "
    "coherent see memory, and not what a core has in its caches",
    "make walks inner shareable and write-back where IDR0.COHACC is 1, or clean every descriptor "
    "to the point of coherency (DC CVAC, DSB) before the TLBI",
)


class Coherency:
    """Looks at the attributes of walks, once a stream, while the core's data cache is on."""

    kind = KIND

    def __init__(
        self, smmu: Smmuv3, core_caches: Callable[[], bool], report: Callable[[Found], None]
    ) -> None:
        self._smmu = smmu
        self._core_caches = core_caches
        self._report = report
        self._seen: set[tuple[int, str]] = set()

    def fetched(self, event: ConfigFetch) -> None:
        """A structure was read."""
        if not event.entry or len(event.data) != 64:
            return
        key = (event.stream_id, event.structure)
        if key in self._seen:
            return
        self._seen.add(key)
        why = self._why(event)
        if why and self._core_caches():
            text = f"{why}, and the core's data cache is on"
            self._report(Found(KIND, event.unit, text, story_of(event), event.stream_id))

    def _why(self, event: ConfigFetch) -> str:
        """Why a stream's walks are not coherent; empty if they are."""
        if event.structure == "CD":
            cd = CD.from_bytes(event.data)
            used = [half for half in (0, 1) if not getattr(cd, f"EPD{half}")]
            plain = [half for half in used if not getattr(cd, f"IR{half}")]
            if plain:
                return f"walks of TTB{plain[0]} are non-cacheable (CD.IR{plain[0]} is 0)"
        else:
            ste = STE.from_bytes(event.data)
            if ste.Config & Config.STAGE2 != Config.STAGE2:
                return ""
            if not ste.S2IR0:
                return "walks of stage 2 are non-cacheable (STE.S2IR0 is 0)"
        return "" if self._smmu.ids.features.COHACC else "IDR0.COHACC is 0: no walk is coherent"
