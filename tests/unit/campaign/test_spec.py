# SPDX-License-Identifier: GPL-2.0-or-later
"""Campaign files: what they mean, and what is said of bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smmu_emu.campaign.spec import CampaignError, campaign_of, load_campaign

TARGET = {"image": "a.elf"}
ABORT = {"site": "walk-read", "effect": "abort"}


def campaign(**keys: Any) -> Any:
    return campaign_of({"target": [TARGET], "fault": [ABORT]} | keys)


def test_faults_change_fastest_then_seeds_policies_and_targets() -> None:
    made = campaign(
        target=[{"image": "a.elf"}, {"image": "b.elf"}],
        policies=["", "keep"],
        seeds=[5, 6],
        fault=[ABORT | {"each": {"nth": [1, 2]}}, ABORT],
    )
    assert made.total == 2 * 2 * 2 * 3
    told = [(r.target.name, r.policy, r.seed, r.family) for r in map(made.run, range(made.total))]
    assert told[:4] == [("a", "", 5, 0), ("a", "", 5, 0), ("a", "", 5, 1), ("a", "", 6, 0)]
    assert [one[1] != "" for one in told] == ([False] * 6 + [True] * 6) * 2
    assert [one[0] for one in told] == ["a"] * 12 + ["b"] * 12


def test_each_puts_values_where_the_dots_lead() -> None:
    each = {"effect.bits": {"first": 60, "last": 62, "step": 2}, "target.stream": [8, 9]}
    family = {"site": "ste", "effect": "flip", "target": {"stream": 1}, "each": each}
    made = campaign(fault=[family])
    assert [made.run(n).fault for n in range(4)] == [
        {
            "site": "ste",
            "effect": {"kind": "flip", "bits": [bit]},
            "target": {"stream": stream},
        }
        for stream in (8, 9)
        for bit in (60, 62)
    ]


def test_sample_is_the_same_every_time() -> None:
    wide = [ABORT | {"each": {"nth": {"first": 1, "last": 1000}}}]
    one, two = (campaign(fault=wide, sample=20, seed=seed) for seed in (1, 2))
    assert one.numbers() == campaign(fault=wide, sample=20, seed=1).numbers()
    assert len(set(one.numbers())) == 20
    assert one.numbers() != two.numbers()
    assert campaign(fault=wide, sample=5000).numbers() == list(range(1000))


def test_text_gives_the_same_campaign() -> None:
    made = campaign(
        target=[TARGET | {"start": "ready", "allow": [{"stream": 8, "iova": [0, 0x1000]}]}],
        fault=[ABORT | {"each": {"nth": [3, 4]}}],
        sample=1,
    )
    again = campaign_of(json.loads(made.text))
    assert again == made
    assert again.text == made.text


def test_order_of_keys_numbers_the_runs_and_survives_as_text() -> None:
    each = {"target.level": [1, 2], "effect.bits": [7, 8]}
    family = {"site": "descriptor", "effect": "flip", "at": "transaction", "each": each}
    made = campaign(fault=[family])
    assert made.run(1).fault["target"] == {"level": 2}
    again = campaign_of(json.loads(made.text))
    assert [again.run(n) for n in range(4)] == [made.run(n) for n in range(4)]


def test_number_that_is_none_is_refused() -> None:
    with pytest.raises(CampaignError, match="run 1: this campaign has runs 0 to 0"):
        campaign().run(1)


BAD = [
    ({"foo": 1}, "no key 'foo'; there is name, seed"),
    ({"target": []}, r"\[\[target\]\] is needed"),
    ({"fault": "x"}, r"\[\[fault\]\] is needed"),
    ({"target": [{}]}, "target 1: image is missing"),
    ({"target": [TARGET | {"rom": 1}]}, "target 1: no key 'rom'"),
    ({"target": [TARGET | {"devices": "edu"}]}, "devices = 'edu': a list is wanted, each a text"),
    ({"target": [TARGET, TARGET]}, "two targets are called 'a'"),
    ({"target": [TARGET | {"allow": [{"stream": 8}]}]}, "allow 1: iova is missing"),
    ({"fault": [{"site": "walk-read"}]}, "fault 1: fault 1: effect is missing"),
    ({"fault": [{"site": "walk", "effect": "abort"}]}, "no site 'walk'"),
    ({"fault": [ABORT | {"each": 3}]}, "each is a table"),
    ({"fault": [ABORT | {"each": {"nth": 3}}]}, "each nth: values in a list"),
    ({"fault": [ABORT | {"each": {"nth": {"first": 3, "last": 1}}}]}, "each nth: values"),
    ({"fault": [ABORT | {"each": {"nth": [1, 0]}}]}, "accesses are counted from 1"),
    ({"policies": ["bogus"]}, "policies: no policy 'bogus'"),
    ({"seeds": ["x"]}, "each a number"),
    ({"sample": 0}, "sample = 0"),
    ({"sample": True}, "a number is wanted"),
    ({"patience": 1}, "patience = 1"),
]


@pytest.mark.parametrize(("keys", "words"), BAD)
def test_bad_campaign_is_refused_in_one_line(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(CampaignError, match=words) as caught:
        campaign(**keys)
    assert "\n" not in str(caught.value)


def test_runs_are_bounded() -> None:
    each = {name: {"first": 1, "last": 1 << 20} for name in ("nth", "stream")}
    with pytest.raises(CampaignError, match="are the most"):
        campaign(fault=[ABORT | {"each": each}])


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("x = [")
    with pytest.raises(CampaignError, match=r"c\.toml: "):
        load_campaign(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CampaignError):
        load_campaign(path)
    with pytest.raises(OSError, match="No such file"):
        load_campaign(tmp_path / "none.toml")


def test_images_are_found_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        '[[target]]\nimage = "a.elf"\n[[fault]]\nsite = "walk-read"\neffect = "abort"\n'
    )
    made = load_campaign(path)
    assert made.targets[0].image == str(tmp_path / "a.elf")
    with pytest.raises(CampaignError, match=r"a\.elf: No such file"):
        _ = made.identity
