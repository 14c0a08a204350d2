"""The rule set: how strong each signal is, and what a hit shows by itself.

A set is a file of data (rules/0001.toml is the one in the package and says what each part means),
read into typed values and checked once. All that depends on nothing but the set is asked here, and
answers are remembered, for agents and signs repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, get_args

import msgspec
from msgspec import Meta, Struct

from mailwake.contracts import PERSON, Asn, Verdict
from mailwake.errors import ConfigError
from mailwake.reasons import Reason
from mailwake.settings import Settings
from mailwake_enricher.signs import AHEAD, HEAD, REFERER, WITHHELD, signals_of

Weight = Annotated[int, Meta(ge=-200, le=200)]
Number = Annotated[int, Meta(ge=2, le=100)]
Seconds = Annotated[int, Meta(ge=0, le=86_400)]
Words = Annotated[list[Annotated[str, Meta(min_length=2)]], Meta(min_length=1)]

BURSTS: tuple[Reason, ...] = ("link_burst", "network_burst", "hit_burst", "hosting_pair")
"""The signs of which only the heaviest counts."""

PLATFORMS = ("windows", "iphone", "ipad", "android", "macintosh", "cros", "linux")


class Burst(Struct, frozen=True, forbid_unknown_fields=True):
    """When hits are a burst: so many within so many seconds."""

    links: Number
    links_s: Seconds
    hits: Number
    hits_s: Seconds
    networks: Number
    networks_s: Seconds


class Times(Struct, frozen=True, forbid_unknown_fields=True):
    """The other windows, in seconds."""

    soon_s: Seconds
    sender_s: Seconds
    clock_s: Seconds
    follows_s: Seconds
    read_s: Seconds
    scanned_s: Seconds


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose network some autonomous systems are, and the signals of opens and clicks from there."""

    name: str
    asns: list[Asn]
    opens: Reason | None = None
    clicks: Reason | None = None


class Agent(Struct, frozen=True, forbid_unknown_fields=True, rename={"whole": "is"}):
    """A family of agents, by words in the agent (`has`) or by the whole of it (`is`)."""

    family: Annotated[str, Meta(pattern="^[a-z0-9_]{1,20}$")]
    has: Words | None = None
    whole: str | None = None
    unless: Words | None = None
    signal: Reason | None = None
    without_referer: bool = False

    def fits(self, agent: str, referer: bool) -> bool:
        """Whether an agent, in lower case, is of this family."""
        if self.without_referer and referer:
            return False
        if self.whole is not None and agent != self.whole:
            return False
        if self.has is not None and not any(word in agent for word in self.has):
            return False
        return self.unless is None or not any(word in agent for word in self.unless)


class RuleFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule set as its file has it."""

    version: Annotated[int, Meta(ge=1, le=1 << 30)]
    threshold: Annotated[int, Meta(ge=1, le=100)]
    order: list[Verdict]
    signals: dict[Reason, dict[Verdict, Weight]]
    burst: Burst
    times: Times
    networks: list[Network]
    agents: list[Agent]

    def __post_init__(self) -> None:
        machines_and_proxies = {*get_args(Verdict)} - {"human"}
        if sorted(self.order) != sorted(machines_and_proxies):
            raise ValueError(
                f"`order` must hold {', '.join(sorted(machines_and_proxies))}, each once"
            )
        asns = [asn for network in self.networks for asn in network.asns]
        if twice := {asn for asn in asns if asns.count(asn) > 1}:
            raise ValueError(f"`networks` has {min(twice)} twice")
        for agent in self.agents:
            words = [*(agent.has or ()), *(agent.unless or ()), agent.whole or ""]
            if agent.has is None and agent.whole is None:
                raise ValueError(f"`agents`: {agent.family} has neither `has` nor `is`")
            if any(word != word.lower() for word in words):
                raise ValueError(f"`agents`: {agent.family} has words that are not in lower case")
        if unknown := set(self._signals()) - set(self.signals):
            raise ValueError(f"`signals` has no weights of {min(unknown)}")

    def _signals(self) -> Iterator[Reason]:
        """The signals that networks and agents are a sign of."""
        for network in self.networks:
            yield from filter(None, (network.opens, network.clicks))
        yield from (agent.signal for agent in self.agents if agent.signal)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a hit shows by itself.

    Attributes:
        reasons: its signals, the heaviest first.
        family: the agent's family and, of a program that is not its own, the platform.
        verdict: what it would be were there nothing else.
        hosted: whether it came from a data centre.
        listed: whether its network is in the catalogue, or not known.
    """

    reasons: tuple[Reason, ...]
    family: str
    verdict: Verdict
    hosted: bool
    listed: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, how sure it is (0 to 100), and why, the strongest reason first.

    Attributes:
        told: the reasons as an event has them; not to be changed.
    """

    verdict: Verdict
    score: int
    reasons: tuple[Reason, ...]
    person: bool
    told: list[str]


class RuleSet:
    """A rule set ready to be asked."""

    def __init__(self, file: RuleFile) -> None:
        self.version = file.version
        self.burst = file.burst
        times = file.times
        self.read_ms, self.soon_ms = 1000 * times.read_s, 1000 * times.soon_s
        self.early_ms = 1000 * times.scanned_s
        self.follows_ms, self.clock_ms = 1000 * times.follows_s, 1000 * times.clock_s
        self.sender_ms = 1000 * (times.sender_s + times.clock_s)
        self.scanned_ms = 1000 * (times.scanned_s + times.clock_s)
        self.crowd = min(file.burst.links, file.burst.hits, file.burst.networks)
        self.longest_ms = 1000 * max(
            *(file.burst.links_s, file.burst.hits_s, file.burst.networks_s, file.times.follows_s),
        )
        self.file = file
        self._networks = {asn: network for network in file.networks for asn in network.asns}
        self.show = lru_cache(maxsize=8192)(self._show)
        self.judge = lru_cache(maxsize=8192)(self._judge)
        self.weigh = lru_cache(maxsize=8192)(self._weigh)

    def family(self, agent: str, referer: bool = False) -> str:
        """The family of an agent, such as `thunderbird` or `chrome windows`; empty of none."""
        lower = agent.strip().lower()
        if not lower:
            return ""
        for row in self.file.agents:
            if row.fits(lower, referer):
                if row.signal is not None:
                    return row.family
                platform = next((name for name in PLATFORMS if name in lower), "")
                return f"{row.family} {platform}".rstrip()
        return "other"

    def _show(self, agent: str, asn: int, click: bool, flags: int) -> Shown:
        """What a hit shows; `flags` are those of a mark."""
        lower = agent.strip().lower()
        referer = bool(flags & REFERER)
        reasons: list[Reason] = []
        if flags & HEAD:
            reasons.append("head_request")
        if flags & AHEAD:
            reasons.append("purpose_header")
        if not lower:
            reasons.append("agent_withheld" if flags & WITHHELD else "no_agent")
        else:
            reasons += [
                row.signal
                for row in self.file.agents
                if row.signal is not None and row.fits(lower, referer)
            ]
        network = self._networks.get(asn)
        if network is not None:
            signal = network.clicks if click else network.opens
            if signal is not None:
                reasons.append(signal)
        signals = tuple(reasons)
        return Shown(
            signals,
            self.family(agent, referer),
            self.judge(signals, 0).verdict,
            hosted="hosting_network" in signals,
            listed=network is not None or not asn,
        )

    def _weigh(
        self, agent: str, asn: int, click: bool, flags: int, signals: int
    ) -> tuple[Shown, Judgement]:
        """What a hit shows, and the verdict with the signals that its mark's state tells of."""
        shown = self.show(agent, asn, click, flags)
        return shown, self.judge(shown.reasons, signals)

    def _judge(self, shown: tuple[Reason, ...], state: int) -> Judgement:
        """The verdict that the signals come to that a hit shows and its mark's state tells of."""
        signals = tuple(dict.fromkeys(shown + signals_of(state)))
        bursts = [signal for signal in BURSTS if signal in signals]
        strongest = max(bursts, key=lambda signal: self._weight(signal, "scanner"), default=None)
        counted = [each for each in signals if each == strongest or each not in BURSTS]
        sums: dict[Verdict, int] = {
            verdict: sum(self._weight(signal, verdict) for signal in counted)
            for verdict in self.file.order
        }
        verdict: Verdict = next(
            (each for each in self.file.order if sums[each] >= self.file.threshold), "human"
        )
        score = 100 - max(0, *sums.values()) if verdict == "human" else min(100, sums[verdict])
        reasons = self._reasons(verdict, counted, signals)
        return Judgement(verdict, score, reasons, verdict in PERSON, [*reasons])

    def _reasons(
        self, verdict: Verdict, counted: Iterable[Reason], signals: tuple[Reason, ...]
    ) -> tuple[Reason, ...]:
        """The signals that speak for a verdict by their weight, then those for other verdicts."""

        def strength(signal: Reason) -> tuple[int, int]:
            weights = self.file.signals[signal]
            own = weights.get(verdict, 0)
            if verdict == "human":
                own += max(0, -min(weights.values(), default=0))
            return own, max(weights.values(), default=0)

        told = sorted(signals, key=strength, reverse=True)
        if verdict == "human" and not any(strength(signal)[0] > 0 for signal in counted):
            return ("no_machine_sign", *told)
        return tuple(told)

    def _weight(self, signal: Reason, verdict: Verdict) -> int:
        return self.file.signals[signal].get(verdict, 0)


def parse_rules(data: bytes, name: str) -> RuleSet:
    """A rule set from the bytes of its file. Raises ConfigError that says what is wrong where."""
    try:
        return RuleSet(msgspec.toml.decode(data, type=RuleFile))
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"the rules {name} cannot be used: {error}") from None


def read_rules(path: Path) -> RuleSet:
    """The rule set of a file. Raises ConfigError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the rules {path} cannot be read: {error.strerror}") from None
    return parse_rules(data, str(path))


def rules_in_force(settings: Settings) -> RuleSet:
    """The rule set that workers judge by: the settings' own, else the newest in the package.

    Raises ConfigError.
    """
    if settings.rules is None:
        return packaged_rules()
    try:
        return read_rules(settings.rules)
    except ConfigError as error:
        raise ConfigError(
            f"{error}; correct the file, which MAILWAKE_RULES names, or unset MAILWAKE_RULES to "
            "judge by the rules in the package"
        ) from None


@cache
def packaged_rules() -> RuleSet:
    """The newest rule set that comes with the package."""
    folder = files("mailwake_enricher") / "rules"
    newest = max(
        (file for file in folder.iterdir() if file.name.endswith(".toml")),
        key=lambda file: file.name,
    )
    return parse_rules(newest.read_bytes(), newest.name)
