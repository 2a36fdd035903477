# SPDX-License-Identifier: GPL-2.0-or-later
"""config-not-hitless: a live STE or CD passed through a state that was neither old nor new."""

from __future__ import annotations

from smmu_emu.check.findings import ERROR, Found, Kind, story_of
from smmu_emu.check.updates import Torn

KIND = Kind(
    "config-not-hitless",
    ERROR,
    "an STE or CD in use changed in a way that an SMMU can see half done",
    "IHI 0070 3.21.3.1, 3.21.3: the SMMU reads structures 64 bits at a time, in any order, "
    "whenever it likes, so a valid one may change in use in one doubleword at a time only",
    "change fields that are not in use first, then the one doubleword that matters, each followed "
    "by CFGI and CMD_SYNC; else clear V, CFGI, CMD_SYNC, write the rest, CFGI, CMD_SYNC, set V",
)


def judge(torn: Torn, unit: str) -> Found:
    """Updates that cannot have been, or were seen not to be, hitless."""
    substream = "" if torn.substream_id is None else f" substream {torn.substream_id:#x}"
    where = f"the {torn.structure} of stream {torn.stream_id:#x}{substream} at {torn.pa:#x}"
    if torn.between is not None:
        text = f"{where} was neither the old nor the new one between two writes"
    else:
        text = (
            f"{torn.words} doublewords of {where} changed while it was valid, with no CFGI between"
        )
    story = story_of(torn.fetch, torn.between, torn.event)
    return Found(KIND, unit, text, story, torn.stream_id, None)
