"""Webhooks: where alerts are posted to, what became of each message, a test, and another try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from mailwake.contracts import Kind
from mailwake.webhook import DisabledFor, MessageType, Outcome
from mailwake_api import webhooks
from mailwake_api.preferences import ForUser
from mailwake_api.problems import Problem
from mailwake_api.web.frame import sentence
from mailwake_api.web.visit import Visit
from mailwake_api.webhooks import (
    DeliveryList,
    DeliveryNow,
    LastDeliveries,
    NewWebhook,
    Tested,
    WebhookChange,
    WebhookList,
    WebhookMade,
    WebhookNow,
)

LAST = 50
"""So many deliveries a page shows."""
KINDS: Mapping[Kind, tuple[str, str]] = {
    "open": ("Openings", "When a mail is opened first, and when somebody comes back to it."),
    "click": ("Clicks", "When a link is followed first, and when somebody comes back to it."),
}
DISABLED: Mapping[DisabledFor, str] = {
    "by_user": "Switched off.",
    "gone": "Switched off: the address answered that it is gone for good (410).",
    "failing": "Switched off: every attempt failed for days.",
    "no_secret": "Switched off: its secret cannot be read any more; get it a new one.",
}
TYPES: Mapping[MessageType, str] = {
    "alert.opened": "An opening",
    "alert.clicked": "A click",
    "alert.withdrawn": "An alert taken back",
    "mailwake.test": "A test",
}
OUTCOMES: Mapping[Outcome, str] = {
    "delivered": "taken",
    "status": "answered with an error",
    "busy": "asked to wait",
    "redirect": "sent elsewhere, which counts as a failure",
    "gone": "gone for good",
    "timeout": "no answer in time",
    "dns": "the name is not known",
    "refused": "the name leads to an address that is not public",
    "connect": "nobody listens there",
    "tls": "no trusted certificate",
    "broken": "the connection broke off",
    "disabled": "switched off meanwhile",
    "withheld": "the recipient does not agree any more",
    "no_secret": "its secret cannot be read",
}
_TOLD = {
    "saved": "Saved.",
    "deleted": "The webhook is deleted; nothing more is posted there.",
    "again": "It is sent once more; load the page again to see what comes of it.",
}


async def show_all(visit: Visit) -> Response:
    """`GET /webhooks`."""
    return await _list(visit, {"url": "", "kinds": list(KINDS)})


async def make(visit: Visit) -> Response:
    """`POST /webhooks`: makes one and tells its secret, or shows what is wrong."""
    url, kinds = visit.form.get("url", "").strip(), _kinds(visit)
    wrong = _wrong(kinds)
    if not wrong[1]:
        wish = NewWebhook(url, kinds)
        try:
            made = await visit.ask(webhooks.make, WebhookMade, asked=ForUser(), body=wish)
        except Problem as problem:
            wrong = _said(problem)
        else:
            return _one(visit, made, [], secret=made.secret)
    return await _list(visit, {"url": url, "kinds": kinds}, wrong)


async def show(visit: Visit) -> Response:
    """`GET /webhooks/{webhook_id}`: what it is, and its last deliveries."""
    told = _TOLD.get(visit.word("told"), "")
    return await _found(visit, told=told)


async def save(visit: Visit) -> Response:
    """`POST /webhooks/{webhook_id}`: changes it, or shows what is wrong."""
    kinds = _kinds(visit)
    wrong = _wrong(kinds)
    if not wrong[1]:
        change = WebhookChange(visit.form.get("url", "").strip(), kinds, "enabled" in visit.form)
        try:
            now = await visit.ask(webhooks.put, WebhookNow, body=change)
        except Problem as problem:
            wrong = _said(problem)
        else:
            return visit.go(f"/webhooks/{now.webhook_id}?told=saved")
    return await _found(visit, wrong=wrong)


async def test(visit: Visit) -> Response:
    """`POST /webhooks/{webhook_id}/test`: posts a test message, and says what came of it."""
    came = await visit.ask(webhooks.test, Tested)
    took = f"{OUTCOMES[came.outcome]}, after {came.took_ms} ms"
    if came.status_class and not came.delivered:
        took = f"{OUTCOMES[came.outcome]} ({came.status_class}), after {came.took_ms} ms"
    if came.delivered:
        return await _found(visit, told=f"The test was {took}.")
    return await _found(visit, failed=f"The test came to nothing: {took}.")


async def rotate(visit: Visit) -> Response:
    """`POST /webhooks/{webhook_id}/secret`: a new secret; the old one signs too for a day."""
    made = await visit.ask(webhooks.rotate, WebhookMade)
    return _one(visit, made, await _log(visit), secret=made.secret)


async def delete(visit: Visit) -> Response:
    """`POST /webhooks/{webhook_id}/delete`."""
    await visit.answer(webhooks.delete)
    return visit.go("/webhooks?told=deleted")


async def again(visit: Visit) -> Response:
    """`POST /webhooks/{webhook_id}/deliveries/{delivery_id}`: sends a message once more."""
    try:
        await visit.ask(webhooks.replay, DeliveryNow)
    except Problem as problem:
        if problem.status != 409:
            raise
        return await _found(visit, failed=f"Not sent: {problem.detail}.")
    return visit.go(f"/webhooks/{visit.request.path_params['webhook_id']}?told=again")


def _kinds(visit: Visit) -> list[Kind]:
    return [kind for kind in KINDS if kind in visit.form]


def _wrong(kinds: Sequence[Kind]) -> tuple[str, str]:
    return ("", "") if kinds else ("kinds", "Choose what is to be posted")


def _said(problem: Problem) -> tuple[str, str]:
    """The field that is wrong, and what is. Raises what is no fault of the form."""
    if problem.status not in (409, 422):
        raise problem
    return "url" if problem.code in ("url", "query") else "", sentence(problem.detail)


async def _list(
    visit: Visit, given: Mapping[str, object], wrong: tuple[str, str] = ("", "")
) -> Response:
    found = await visit.ask(webhooks.listed, WebhookList, asked=ForUser())
    return visit.page(
        "webhooks.html",
        422 if wrong[1] else 200,
        webhooks=found.webhooks,
        kinds=KINDS,
        disabled=DISABLED,
        given=given,
        told=_TOLD.get(visit.word("told"), ""),
        wrong_field=wrong[0],
        wrong=wrong[1],
    )


async def _found(
    visit: Visit, *, told: str = "", failed: str = "", wrong: tuple[str, str] = ("", "")
) -> Response:
    """The webhook that the path names. Raises Problem."""
    now = await visit.ask(webhooks.show, WebhookNow)
    return _one(visit, now, await _log(visit), told=told, failed=failed, wrong=wrong)


async def _log(visit: Visit) -> list[DeliveryNow]:
    asked = LastDeliveries(limit=LAST)
    return (await visit.ask(webhooks.log, DeliveryList, asked=asked)).deliveries


def _one(
    visit: Visit,
    now: WebhookNow,
    deliveries: Sequence[DeliveryNow],
    *,
    secret: str = "",
    told: str = "",
    failed: str = "",
    wrong: tuple[str, str] = ("", ""),
) -> Response:
    given = {"url": now.url, "kinds": now.kinds, "enabled": now.enabled}
    if wrong[1]:
        url = visit.form.get("url", "").strip()
        given = {"url": url, "kinds": _kinds(visit), "enabled": "enabled" in visit.form}
    return visit.page(
        "webhook.html",
        422 if wrong[1] else 200,
        webhook=now,
        given=given,
        kinds=KINDS,
        disabled=DISABLED,
        types=TYPES,
        outcomes=OUTCOMES,
        deliveries=deliveries,
        secret=secret,
        told=told,
        failed=failed,
        wrong_field=wrong[0],
        wrong=wrong[1],
    )
