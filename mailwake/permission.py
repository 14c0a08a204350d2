"""What may be tracked of a mail: pure, without clock, Kafka or store.

A mail is tracked as far as its user wants, the tenant's policy allows and every recipient of the
body agrees; the strictest decides. No consent, no trace: a recipient who has not been asked is not
tracked, unless the tenant has named another basis that makes it lawful.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from mailwake.contracts import (
    Consent,
    LawfulBasis,
    Mode,
    Policy,
    Preference,
    Purpose,
    Toggles,
)

PURPOSES: tuple[Purpose, ...] = ("opens", "clicks")

Refusal = Literal["not_wanted", "ceiling", "denied", "unknown"]
"""Why something is not tracked: the user does not want it; the tenant's policy says off; a
recipient has denied; a recipient has not been asked and consent is the policy's basis."""

UNTRACKED = "untracked, for Kafka is away"
"""What a relay's 250 ends with where a mail went out so; Compose tells its user by it."""

Consents = Mapping[Purpose, Consent]
"""What one recipient has said; a purpose that is missing was never asked for."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What may be tracked of one body.

    Attributes:
        basis: what makes it lawful; None when nothing may be tracked.
        retention_days: for how many days after it is sent.
        refused: of each purpose that may not, why not.
    """

    opens: bool
    clicks: bool
    mode: Mode
    basis: LawfulBasis | None
    retention_days: int
    refused: Mapping[Purpose, Refusal]

    def __bool__(self) -> bool:
        return self.opens or self.clicks


def permit(
    wanted: Toggles, policy: Policy, recipients: Iterable[Consents], mode: Mode = "identified"
) -> Permission:
    """What may be tracked of a body that goes to `recipients`, all of them.

    `mode` is the most that is asked for. A body without any known recipient is as one whose
    recipient has not been asked.
    """
    said = list(recipients) or [{}]
    refused: dict[Purpose, Refusal] = {}
    for purpose in PURPOSES:
        why = _refusal(purpose, getattr(wanted, purpose), policy, said)
        if why is not None:
            refused[purpose] = why
    opens, clicks = "opens" not in refused, "clicks" not in refused
    if policy.ceiling == "anonymous":
        mode = "anonymous"
    basis: LawfulBasis | None = policy.basis if opens or clicks else None
    if basis is not None and all(
        _state(consents, purpose) == "granted"
        for consents in said
        for purpose in PURPOSES
        if purpose not in refused
    ):
        basis = "consent"
    return Permission(opens, clicks, mode, basis, policy.retention_days, refused)


def _refusal(
    purpose: Purpose, wanted: bool, policy: Policy, said: list[Consents]
) -> Refusal | None:
    if not wanted:
        return "not_wanted"
    if policy.ceiling == "off":
        return "ceiling"
    states = {_state(consents, purpose) for consents in said}
    if "denied" in states:
        return "denied"
    if "unknown" in states and policy.basis == "consent":
        return "unknown"
    return None


def _state(consents: Consents, purpose: Purpose) -> str:
    consent = consents.get(purpose)
    return consent.state if consent else "unknown"


def counts(consent: Consent, against: Consent | None) -> bool:
    """Whether a consent counts against what was said before (or came before): the later does, of
    two at the same time the stricter."""
    if against is None:
        return True
    strictness = ("granted", "unknown", "denied").index
    return (consent.at, strictness(consent.state)) >= (against.at, strictness(against.state))


def toggles_of(preference: Preference) -> Toggles:
    """The toggles that the user's next mail starts with."""
    return preference.last or Toggles(preference.opens, preference.clicks)
