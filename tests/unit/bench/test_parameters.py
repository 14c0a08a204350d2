"""The simulator's parameters, and draws from them."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.quality.chance import along, network_in, value_at, weighed
from bench.quality.parameters import FILE, Curve, Networks, drawn, read_parameters
from mailwake.networks import network_of, read_address

PARAMETERS = read_parameters(1)


def test_a_seed_gives_the_same_parameters() -> None:
    assert read_parameters(3) == read_parameters(3)
    assert read_parameters(3) != read_parameters(4)


def test_an_assumption_is_drawn_and_a_published_figure_is_not() -> None:
    others = [read_parameters(seed) for seed in range(20)]
    reads = [each.people.reads for each in others]
    assert len(set(reads)) == 20
    assert all(0.3 <= share <= 0.7 for share in reads)
    assert {tuple(each.gateway.after) for each in others} == {tuple(PARAMETERS.gateway.after)}


def test_an_assumption_is_drawn_wherever_it_stands() -> None:
    tree = {"curve": [[1, 0.0], [60, {"from": 0.2, "to": 0.4}]], "name": "x"}
    found = drawn(tree, random.Random(1))
    assert found["name"] == "x"
    assert 0.2 <= found["curve"][1][1] <= 0.4


def test_a_name_that_is_unknown_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "parameters.toml"
    file.write_text(FILE.read_text("utf-8").replace("reopens =", "reopen ="), "utf-8")
    with pytest.raises(msgspec.ValidationError, match=r"reopen.*people"):
        read_parameters(1, file)


def curves(value: object, name: str = "") -> list[tuple[str, Curve]]:
    if isinstance(value, msgspec.Struct):
        return [
            found
            for field in value.__struct_fields__
            for found in curves(getattr(value, field), f"{name}.{field}")
        ]
    # A curve begins with nothing below its first point; weights hold no zero.
    if isinstance(value, list) and value and isinstance(value[0], tuple) and value[0][1] == 0:
        return [(name, value)]
    return []


CURVES = dict(curves(PARAMETERS))


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("seed", range(5))
def test_a_curve_rises_to_all(name: str, seed: int) -> None:
    curve = dict(curves(read_parameters(seed)))[name]
    assert [value for value, _ in curve] == sorted({value for value, _ in curve})
    assert [share for _, share in curve] == sorted({share for _, share in curve})
    assert curve[0][0] > 0
    assert curve[-1][1] == 1


def test_there_are_curves() -> None:
    assert len(CURVES) >= 15


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_has_no_smaller_value(one: float, other: float) -> None:
    curve = PARAMETERS.people.opening
    low, high = sorted((one, other))
    assert curve[0][0] <= value_at(curve, low) * (1 + 1e-9)
    assert value_at(curve, low) <= value_at(curve, high) * (1 + 1e-9)
    assert value_at(curve, high) <= curve[-1][0] * (1 + 1e-9)


@pytest.mark.parametrize("point", [(10, 0.005), (43, 0.5), (300, 0.97)])
def test_a_curve_goes_through_its_points(point: tuple[float, float]) -> None:
    assert value_at(PARAMETERS.gateway.after, point[1]) == pytest.approx(point[0])


def test_draws_follow_the_curve() -> None:
    dice = random.Random(1)
    drawn_ = [along([(1, 0.0), (10, 0.3), (100, 1.0)], dice) for _ in range(5000)]
    assert sum(value <= 10 for value in drawn_) / 5000 == pytest.approx(0.3, abs=0.03)
    assert all(1 <= value <= 100 for value in drawn_)


def test_draws_follow_the_weights() -> None:
    dice = random.Random(1)
    numbers = [weighed([(1, 3), (7, 1)], dice) for _ in range(4000)]
    assert numbers.count(7) / 4000 == pytest.approx(0.25, abs=0.03)
    assert set(numbers) == {1, 7}


@pytest.mark.parametrize("name", PARAMETERS.networks)
def test_networks_are_cut_as_the_edge_cuts_them(name: str) -> None:
    dice = random.Random(1)
    for _ in range(50):
        network, asn = network_in(PARAMETERS.networks[name], dice)
        address = read_address(network.partition("/")[0])
        assert address is not None
        assert network_of(address) == network
        assert asn == PARAMETERS.networks[name].asn


def test_a_range_has_no_network_beyond_its_ends() -> None:
    pool = Networks(asn=1, prefixes=["192.0.2.0/23", "2001:db8:4::/47"])
    found = {network_in(pool, random.Random(seed))[0] for seed in range(100)}
    assert found == {
        "192.0.2.0/24",
        "192.0.3.0/24",
        "2001:db8:4::/48",
        "2001:db8:5::/48",
    }
