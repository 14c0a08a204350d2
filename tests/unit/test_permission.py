"""What may be tracked: the strictest of user, tenant and all recipients decides."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.contracts import (
    RETENTION_DAYS,
    Ceiling,
    Consent,
    ConsentState,
    LawfulBasis,
    Mode,
    Policy,
    Preference,
    Purpose,
    Toggles,
    new_consent,
)
from mailwake.permission import PURPOSES, Consents, counts, permit, toggles_of

RECIPIENT = "0a" * 16
BOTH = Toggles(opens=True, clicks=True)
states: st.SearchStrategy[ConsentState] = st.sampled_from(get_args(ConsentState))
toggles = st.builds(Toggles, st.booleans(), st.booleans())
policies = st.builds(
    Policy,
    tenant=st.just("acme"),
    at=st.just(1),
    ceiling=st.sampled_from(get_args(Ceiling)),
    basis=st.sampled_from(get_args(LawfulBasis)),
    retention_days=st.integers(1, RETENTION_DAYS),
)
modes: st.SearchStrategy[Mode] = st.sampled_from(get_args(Mode))


def said(opens: ConsentState | None, clicks: ConsentState | None) -> Consents:
    given: dict[Purpose, ConsentState | None] = {"opens": opens, "clicks": clicks}
    return {
        purpose: new_consent("acme", RECIPIENT, purpose, state, 1, "import")
        for purpose, state in given.items()
        if state is not None
    }


recipients = st.lists(st.builds(said, st.none() | states, st.none() | states), max_size=4)


@given(toggles, policies, recipients, modes)
def test_the_strictest_decides(
    wanted: Toggles, policy: Policy, people: list[Consents], mode: Mode
) -> None:
    permission = permit(wanted, policy, people, mode)
    for purpose in PURPOSES:
        allowed = getattr(permission, purpose)
        assert allowed == (purpose not in permission.refused)
        if allowed:
            assert getattr(wanted, purpose)
            assert policy.ceiling != "off"
            for consents in people:
                consent = consents.get(purpose)
                state = consent.state if consent else "unknown"
                assert state == "granted" or (state == "unknown" and policy.basis != "consent")
    assert bool(permission) == (permission.basis is not None)
    assert permission.retention_days == policy.retention_days
    if "anonymous" in (mode, policy.ceiling):
        assert permission.mode == "anonymous"


@given(toggles, policies, recipients, st.builds(said, st.none() | states, st.none() | states))
def test_one_more_recipient_never_allows_more(
    wanted: Toggles, policy: Policy, people: list[Consents], more: Consents
) -> None:
    if people:
        before, after = permit(wanted, policy, people), permit(wanted, policy, [*people, more])
        assert before.opens >= after.opens
        assert before.clicks >= after.clicks


@pytest.mark.parametrize(
    ("policy", "people", "refused"),
    [
        (Policy("acme", 1), [], {"opens": "unknown", "clicks": "unknown"}),
        (Policy("acme", 1), [said(None, None)], {"opens": "unknown", "clicks": "unknown"}),
        (Policy("acme", 1), [said("granted", None)], {"clicks": "unknown"}),
        (Policy("acme", 1), [said("granted", "denied")], {"clicks": "denied"}),
        (Policy("acme", 1), [said("granted", "granted"), said("denied", None)],
         {"opens": "denied", "clicks": "unknown"}),
        (Policy("acme", 1, basis="contract"), [said(None, "unknown")], {}),
        (Policy("acme", 1, basis="contract"), [], {}),
        (Policy("acme", 1, basis="contract"), [said("denied", None)], {"opens": "denied"}),
        (Policy("acme", 1, ceiling="off"), [said("granted", "granted")],
         {"opens": "ceiling", "clicks": "ceiling"}),
    ],
)  # fmt: skip
def test_what_is_refused_and_why(
    policy: Policy, people: list[Consents], refused: dict[Purpose, str]
) -> None:
    assert permit(BOTH, policy, people).refused == refused


def test_a_mail_is_identified_where_nobody_says_otherwise() -> None:
    agreed = [said("granted", "granted")]
    assert permit(BOTH, Policy("acme", 1), agreed).mode == "identified"
    assert permit(BOTH, Policy("acme", 1, ceiling="anonymous"), agreed).mode == "anonymous"


def test_what_is_not_wanted_is_refused_as_such() -> None:
    permission = permit(
        Toggles(opens=False, clicks=True), Policy("acme", 1), [said("denied", "granted")]
    )
    assert permission.refused == {"opens": "not_wanted"}
    assert permission.clicks


@pytest.mark.parametrize(
    ("policy", "people", "basis"),
    [
        (Policy("acme", 1), [said("granted", "granted")], "consent"),
        (Policy("acme", 1), [said(None, None)], None),
        (Policy("acme", 1, basis="contract"), [said("granted", "granted")], "consent"),
        (Policy("acme", 1, basis="contract"), [said("granted", None)], "contract"),
        (Policy("acme", 1, basis="contract"), [said("granted", "denied")], "consent"),
    ],
)
def test_the_basis_is_consent_where_all_have_given_it(
    policy: Policy, people: list[Consents], basis: LawfulBasis | None
) -> None:
    assert permit(BOTH, policy, people).basis == basis


@given(states, states, st.integers(0, 3), st.integers(0, 3))
def test_of_two_statements_exactly_one_counts(
    one: ConsentState, other: ConsentState, at: int, later: int
) -> None:
    first = new_consent("acme", RECIPIENT, "opens", one, at, "import")
    second = new_consent("acme", RECIPIENT, "opens", other, later, "import")
    assert counts(first, second) or counts(second, first)
    if counts(first, second) and counts(second, first):
        assert (first.at, first.state) == (second.at, second.state)
    assert counts(first, None)


def test_a_denial_at_the_same_time_counts() -> None:
    granted: Consent = new_consent("acme", RECIPIENT, "opens", "granted", 5, "import")
    denied: Consent = new_consent("acme", RECIPIENT, "opens", "denied", 5, "import")
    assert counts(denied, granted)
    assert not counts(granted, denied)


def test_the_last_toggles_stand_above_the_switches() -> None:
    switches = Preference("acme", "ben", 1, opens=True, clicks=False)
    assert toggles_of(switches) == Toggles(opens=True, clicks=False)
    used = Preference("acme", "ben", 1, last=Toggles(opens=False, clicks=True))
    assert toggles_of(used) == Toggles(opens=False, clicks=True)
