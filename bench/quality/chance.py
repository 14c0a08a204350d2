"""Draws from the distributions of parameters.toml."""

from __future__ import annotations

import ipaddress
import math
import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cache

from bench.quality.parameters import Curve, Networks, Weights

Network = tuple[str, int]
"""A network as the edge cuts it (/24, /48), and its AS number."""


def along(curve: Curve, dice: random.Random) -> float:
    """A value from a curve."""
    return value_at(curve, dice.random())


def value_at(curve: Curve, share: float) -> float:
    """The value below which that share of all is; straight over the logarithm between points."""
    place = max(1, bisect_left(curve, share, key=lambda point: point[1]))
    (low, below), (high, above) = curve[place - 1], curve[place]
    part = (share - below) / (above - below)
    return math.exp(math.log(low) + part * (math.log(high) - math.log(low)))


def weighed(weights: Weights, dice: random.Random) -> int:
    """A number by its weight."""
    numbers, weight = zip(*weights, strict=True)
    return int(dice.choices(numbers, weight)[0])


def network_in(pool: Networks, dice: random.Random) -> Network:
    """A network within the ranges of an operator, a range by its size."""
    ranges = [_range(prefix) for prefix in pool.prefixes]
    base, count, step, length = dice.choices(ranges, [count for _, count, _, _ in ranges])[0]
    address = ipaddress.ip_address(base + dice.randrange(count) * step)
    return f"{address}/{length}", pool.asn


def network_of(pools: Mapping[str, Networks], names: Sequence[str], dice: random.Random) -> Network:
    """A network of one of several operators."""
    return network_in(pools[dice.choice(names)], dice)


@cache
def _range(prefix: str) -> tuple[int, int, int, int]:
    """First address, number of networks in it, addresses from one to the next, their length."""
    network = ipaddress.ip_network(prefix)
    length = 24 if network.version == 4 else 48
    step = 1 << (network.max_prefixlen - length)
    return int(network.network_address), 1 << (length - network.prefixlen), step, length
