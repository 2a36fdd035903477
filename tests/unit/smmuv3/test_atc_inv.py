# SPDX-License-Identifier: GPL-2.0-or-later
"""ATC_INV: what reaches the endpoint, what SYNC waits for, and what it says after a timeout.

Spec: IHI 0070 4.5.1, 4.7.3, 3.9.1.4, 3.9.1.5, 7.1.
"""

from __future__ import annotations

from typing import Any

import pytest

from smmu_emu.ats import Invalidation
from smmu_emu.errors import ConfigurationError
from smmu_emu.smmuv3 import Delays
from tests.unit.smmuv3.ats_rig import CR0_ON, Listener, ats_ids, listen
from tests.unit.smmuv3.rig import CFGI_ALL, RAM, SID, SYNC, Bench, cmd, make_ids

ILL, ATC_INV_SYNC = 1, 3
TIMEOUT = 1_000_000
MESSAGE = RAM + 0x9_0000
SYNC_MSI = cmd("SYNC", CS=1, MSIAddress=MESSAGE, MSIData=0xCAFE)


def _bench(**ids: int) -> tuple[Bench, Listener]:
    bench = Bench(ats_ids(MSI=1, **ids), delays=Delays(invalidation_timeout=TIMEOUT))
    return bench, listen(bench)


def _inv(**fields: Any) -> int:
    return cmd("ATC_INV", **{"StreamID": SID, **fields})


def _consumed(bench: Bench) -> int:
    return bench.r("CMDQ_CONS") & 0xFFFFF


# -- what the endpoint is asked


def test_command_by_its_literal_words() -> None:
    """4.5.1: Global, SSV and SubstreamID, then StreamID; Size and Address in the upper half."""
    bench, listener = _bench()
    bench.push(0x1234_5678_9ABC_D001_0000_0008_0002_A840)
    bench.push(0x1234_5678_9ABC_D004_0000_0008_0002_AA40)
    bench.push(0x1234_5678_9ABC_D034_0000_0008_0000_0040)

    assert listener.invalidations == [
        Invalidation(0x1234_5678_9ABC_C000, 13, 0x2A, False),
        Invalidation(0x1234_5678_9ABC_0000, 16, 0x2A, True),
        Invalidation(0, 64, None, False),
    ]


@pytest.mark.parametrize("size", [0, 1, 9, 18, 40, 51, 52])
def test_span_is_aligned_to_its_size(size: int) -> None:
    bench, listener = _bench()
    bench.push(_inv(Address=0xFFFF_FFFF_FFFF_F000, Size=size))
    aligned = (0xFFFF_FFFF_FFFF_F000 >> 12 + size) << 12 + size

    assert listener.invalidations == [Invalidation(aligned, 12 + size)]


def test_global_means_nothing_without_a_substream() -> None:
    bench, listener = _bench()
    bench.push(_inv(Global=1, SubstreamID=7, Address=0x5000))

    assert listener.invalidations == [Invalidation(0x5000, 12)]


def test_without_substreams_ssv_acts_as_zero() -> None:
    """4.5.1: one of the two allowed behaviours."""
    bench, listener = _bench(SSIDSIZE=0)
    bench.push(_inv(SSV=1, SubstreamID=7, Global=1, Address=0x5000))

    assert listener.invalidations == [Invalidation(0x5000, 12)]


def test_only_the_endpoint_of_the_stream_is_asked() -> None:
    bench, listener = _bench()
    other = listen(bench, SID + 1)
    bench.push(_inv(StreamID=SID + 1))

    assert (len(listener.invalidations), len(other.invalidations)) == (0, 1)


# -- illegal and ignored


@pytest.mark.parametrize(
    ("ids", "fields", "error"),
    [
        (ats_ids(), {"Size": 52}, None),
        (ats_ids(), {"Size": 53}, ILL),
        (ats_ids(), {"Size": 63}, ILL),
        (ats_ids(PRI=0), {}, None),
        (make_ids(), {}, ILL),
    ],
)
def test_command_is_illegal_without_ats_and_with_impossible_sizes(
    ids: Any, fields: dict[str, int], error: int | None
) -> None:
    """4.5.1: sizes above 52 may be illegal, and are."""
    bench = Bench(ids)
    bench.push(_inv(**fields))

    assert bench.command_error == error


def test_illegal_command_is_illegal_while_the_smmu_is_disabled() -> None:
    """4.1.3: ILL takes precedence over IGNORED."""
    bench, _ = _bench()
    bench.w("CR0", CR0_ON & ~1)
    bench.push(_inv(Size=60))

    assert bench.command_error == ILL


def test_command_is_ignored_while_the_smmu_is_disabled() -> None:
    """4.5.1, 6.3.9.6."""
    bench, listener = _bench()
    bench.w("CR0", CR0_ON & ~1)
    bench.do(_inv())

    assert not listener.invalidations


def test_command_for_a_stream_without_endpoint_is_ignored() -> None:
    """4.5.1: ATS is not supported by the rest of the system."""
    bench, listener = _bench()
    bench.do(_inv(StreamID=0x77))
    bench.smmu.ats.detach(SID)
    bench.do(_inv())

    assert not listener.invalidations


def test_two_endpoints_cannot_have_one_stream() -> None:
    bench, listener = _bench()
    bench.smmu.ats.attach(SID, listener)
    with pytest.raises(ConfigurationError, match="0x8"):
        listen(bench)


# -- 4.7.3: completion


def test_sync_waits_for_the_answer() -> None:
    """CONS stays on the SYNC, nothing is signalled, later commands do not begin."""
    bench, listener = _bench()
    bench.push(_inv(), SYNC_MSI, CFGI_ALL)
    assert _consumed(bench) == 1
    assert bench.memory.read(MESSAGE, 4) == bytes(4)
    assert bench.command_error is None
    listener.answer()

    assert _consumed(bench) == 3
    assert bench.memory.read(MESSAGE, 4) == b"\xfe\xca\0\0"


def test_answer_in_time_ends_the_timeout() -> None:
    bench, listener = _bench()
    bench.push(_inv())
    listener.answer()
    bench.smmu.clock.advance(2 * TIMEOUT)
    bench.push(SYNC)

    assert bench.command_error is None


def test_sync_waits_for_the_last_of_several_answers() -> None:
    bench, listener = _bench()
    other = listen(bench, 9)
    bench.push(_inv(), _inv(StreamID=9), SYNC)
    listener.answer()
    assert _consumed(bench) == 2
    other.answer()

    assert _consumed(bench) == 3


def test_sync_does_not_wait_for_commands_behind_it() -> None:
    bench, _ = _bench()
    bench.push(SYNC, _inv())

    assert _consumed(bench) == 2


def test_refusal_completes_without_error() -> None:
    """3.9.1.5: UR."""
    bench, listener = _bench()
    bench.push(_inv(), SYNC)
    listener.answer(False)

    assert _consumed(bench) == 2
    assert bench.command_error is None
    assert bench.smmu.ats.invalidations.unsupported == 1


def test_commands_other_than_sync_do_not_wait() -> None:
    """4.8: consumption of ATC_INV says nothing about its completion."""
    bench, _ = _bench()
    bench.push(_inv(), CFGI_ALL, cmd("TLBI_NSNH_ALL"))

    assert _consumed(bench) == 3


def test_queue_that_is_disabled_meanwhile_goes_on_when_enabled() -> None:
    bench, listener = _bench()
    bench.push(_inv(), SYNC)
    bench.w("CR0", CR0_ON & ~8)
    assert bench.r("CR0ACK") == CR0_ON & ~8
    listener.answer()
    assert _consumed(bench) == 1
    bench.w("CR0", CR0_ON)

    assert _consumed(bench) == 2


# -- 3.9.1.4: timeout


def _expire(bench: Bench) -> None:
    bench.smmu.clock.advance(bench.smmu.clock.now + TIMEOUT)


def test_timeout_fails_the_sync() -> None:
    """7.1: CERROR_ATC_INV_SYNC, RD on the SYNC, no signal; GERROR tells."""
    bench, _ = _bench()
    bench.push(CFGI_ALL, _inv(), SYNC_MSI, CFGI_ALL)
    bench.smmu.clock.advance(TIMEOUT - 1)
    assert bench.command_error is None
    bench.smmu.clock.advance(TIMEOUT)

    assert bench.command_error == ATC_INV_SYNC
    assert _consumed(bench) == 2
    assert bench.memory.read(MESSAGE, 4) == bytes(4)
    assert bench.smmu.interrupts.gerror.pulses == 1


def test_timeout_without_a_sync_is_told_to_the_next_one() -> None:
    bench, _ = _bench()
    bench.push(_inv())
    _expire(bench)
    assert bench.command_error is None
    bench.push(SYNC)

    assert bench.command_error == ATC_INV_SYNC


def test_new_sync_after_the_error_completes() -> None:
    """4.7.3: the failed invalidations are over, the rest is complete with the next SYNC."""
    bench, _ = _bench()
    bench.push(_inv(), SYNC_MSI)
    _expire(bench)
    bench.w("GERRORN", bench.r("GERROR"))

    assert bench.command_error is None
    assert _consumed(bench) == 2
    assert bench.memory.read(MESSAGE, 4) == b"\xfe\xca\0\0"


def test_invalidation_can_be_tried_again_after_the_error() -> None:
    bench, listener = _bench()
    bench.push(_inv(), SYNC)
    _expire(bench)
    bench.w("GERRORN", bench.r("GERROR"))
    bench.push(_inv(), SYNC)
    listener.answer()  # of the first one: too late to mean anything
    assert _consumed(bench) == 3
    listener.answer()

    assert _consumed(bench) == 4
    assert bench.command_error is None


def test_error_waits_until_every_invalidation_has_ended() -> None:
    bench, listener = _bench()
    bench.push(_inv())
    bench.smmu.clock.advance(TIMEOUT // 2)
    bench.push(_inv(), SYNC)
    bench.smmu.clock.advance(TIMEOUT)
    assert bench.command_error is None
    bench.smmu.clock.advance(2 * TIMEOUT)

    assert bench.command_error == ATC_INV_SYNC
    assert len(listener.invalidations) == 2


def test_second_answer_is_ignored() -> None:
    bench, listener = _bench()
    bench.push(_inv())
    twice = listener._answers[0]
    twice(True)
    bench.push(_inv(), SYNC)
    twice(True)

    assert _consumed(bench) == 2


def test_default_timeout_is_a_minute_of_virtual_time() -> None:
    bench = Bench(ats_ids())
    listen(bench)
    bench.push(_inv(), SYNC)
    bench.smmu.clock.advance(59_999_999_999)
    assert bench.command_error is None
    bench.smmu.clock.advance(60_000_000_000)

    assert bench.command_error == ATC_INV_SYNC


def test_no_time_at_all_fails_whoever_does_not_answer_at_once() -> None:
    bench = Bench(ats_ids(), delays=Delays(invalidation_timeout=0))
    listen(bench)
    bench.push(_inv(), SYNC)

    assert bench.command_error == ATC_INV_SYNC


def test_reset_forgets_what_is_under_way() -> None:
    bench, listener = _bench()
    bench.push(_inv(), SYNC)
    bench.smmu.reset()
    bench.set_up()
    bench.prod = 0
    bench.push(SYNC)
    assert _consumed(bench) == 1
    listener.answer()
    _expire(bench)
    bench.push(SYNC)

    assert _consumed(bench) == 2
    assert bench.command_error is None
