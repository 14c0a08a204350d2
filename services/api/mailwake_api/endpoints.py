"""The endpoints, in one list: the router and the OpenAPI document are both made of it."""

from __future__ import annotations

from mailwake.contracts import Toggles
from mailwake_api import (
    alerts,
    consents,
    documents,
    policy,
    preferences,
    sends,
    stream,
    withdrawal,
)
from mailwake_api.alerts import Alerts, Listed, Reading, Unread
from mailwake_api.call import Endpoint
from mailwake_api.consents import Consents, RecordedAll, Statements, Whom
from mailwake_api.policy import PolicyNow, PolicyWish
from mailwake_api.preferences import ForUser, Preferences, Switches
from mailwake_api.sends import Options, SendRequest, Sent
from mailwake_api.stream import Resuming

PAGE_BYTES = 4096
SMALL_BYTES = 64 * 1024
_IF_MATCH = {"If-Match": "Change it only if it is still what this ETag names."}
_IF_NONE_MATCH = {"If-None-Match": "Answer 304 if it is still what this ETag names."}
_CHANGED = {412: "It was changed since; read it again."}
_BAD_LINK = {404: "The link is none of ours.", 503: "Kafka is away; nothing was changed."}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/v1/preferences",
        name="get_preferences",
        summary="A user's switches, and what the next mail is tracked for",
        who="user",
        handler=preferences.show,
        asks=ForUser,
        gives=Preferences,
        headers=_IF_NONE_MATCH,
        says={200: "The preferences, with an ETag.", 304: "Not changed."},
    ),
    Endpoint(
        method="PUT",
        path="/v1/preferences",
        name="put_preferences",
        summary="Set the switches; the toggles of the last mail are forgotten",
        who="user",
        handler=preferences.put,
        asks=ForUser,
        takes=Switches,
        gives=Preferences,
        headers=_IF_MATCH,
        says={200: "The preferences as they are now.", **_CHANGED},
        most_bytes=SMALL_BYTES,
    ),
    Endpoint(
        method="POST",
        path="/v1/preferences/toggles",
        name="post_toggles",
        summary="Note what the toggles were at the mail just sent; the next mail starts with them",
        who="user",
        handler=preferences.put_toggles,
        asks=ForUser,
        takes=Toggles,
        gives=Preferences,
        says={200: "The preferences as they are now."},
        most_bytes=SMALL_BYTES,
    ),
    Endpoint(
        method="GET",
        path="/v1/policy",
        name="get_policy",
        summary="What the tenant's administrator allows",
        who="user",
        handler=policy.show,
        gives=PolicyNow,
        headers=_IF_NONE_MATCH,
        says={200: "The policy, with an ETag.", 304: "Not changed."},
    ),
    Endpoint(
        method="PUT",
        path="/v1/policy",
        name="put_policy",
        summary="Set what the tenant allows, and on which basis",
        who="admin",
        handler=policy.put,
        takes=PolicyWish,
        gives=PolicyNow,
        headers=_IF_MATCH,
        says={200: "The policy as it is now.", **_CHANGED},
        most_bytes=SMALL_BYTES,
    ),
    Endpoint(
        method="POST",
        path="/v1/consents",
        name="post_consents",
        summary="Record what recipients have said, one statement or up to 1,000",
        who="admin_or_platform",
        handler=consents.record,
        takes=Statements,
        gives=RecordedAll,
        says={200: "What was recorded, and which of it is in force."},
    ),
    Endpoint(
        method="POST",
        path="/v1/consents/lookup",
        name="look_up_consents",
        summary="What one recipient has said; changes nothing",
        who="admin_or_platform",
        handler=consents.look_up,
        takes=Whom,
        gives=Consents,
        says={200: "What the recipient has said about each purpose."},
        most_bytes=SMALL_BYTES,
    ),
    Endpoint(
        method="POST",
        path="/v1/sends",
        name="post_sends",
        summary="Instrument a mail, or its HTML and text, and publish what is sent",
        who="user",
        handler=sends.send,
        asks=Options,
        takes=SendRequest,
        also_takes=("message/rfc822",),
        gives=Sent,
        headers={
            "Mailwake-Recipients": "The addresses a mail sent as message/rfc822 goes to, with "
            "commas; To, Cc and Bcc of the mail, unless given."
        },
        says={200: "The body to send. Its send is published, unless nothing in it is tracked."},
    ),
    Endpoint(
        method="GET",
        path="/v1/alerts",
        name="get_alerts",
        summary="A user's alerts of the last seven days, newest first",
        who="user",
        handler=alerts.listed,
        asks=Listed,
        gives=Alerts,
        says={200: "A page of alerts."},
    ),
    Endpoint(
        method="POST",
        path="/v1/alerts/read",
        name="post_alerts_read",
        summary="Mark alerts as read",
        who="user",
        handler=alerts.mark_read,
        asks=ForUser,
        takes=Reading,
        gives=Unread,
        says={200: "How many are unread now."},
        most_bytes=SMALL_BYTES,
    ),
    Endpoint(
        method="GET",
        path="/v1/alerts/stream",
        name="alerts_stream",
        summary="A user's alerts as they come (Server-Sent Events)",
        who="user",
        handler=stream.stream,
        asks=Resuming,
        media="text/event-stream",
        headers={
            "Last-Event-ID": "The `id` of the last event that was read; it goes on behind it."
        },
        says={
            200: "Events `alert`, `unread` and `resync`, each with an `id`.",
            429: "The user has too many streams open.",
        },
    ),
    Endpoint(
        method="GET",
        path="/w/{token}",
        name="withdrawal_page",
        summary="The page where a recipient sees what is tracked; changes nothing",
        who="public",
        handler=withdrawal.show,
        media="text/html",
        says={200: "The page.", **_BAD_LINK},
    ),
    Endpoint(
        method="POST",
        path="/w/{token}",
        name="withdraw",
        summary="Record what the recipient chose on the page",
        who="public",
        handler=withdrawal.choose,
        also_takes=("application/x-www-form-urlencoded",),
        media="text/html",
        says={303: "Recorded; on to the page.", 400: "Nothing was chosen.", **_BAD_LINK},
        most_bytes=PAGE_BYTES,
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        name="openapi",
        summary="This document",
        who="public",
        handler=documents.openapi,
        says={200: "OpenAPI 3.1."},
    ),
    Endpoint(
        method="GET",
        path="/docs",
        name="docs",
        summary="This document, to read",
        who="public",
        handler=documents.page,
        media="text/html",
        says={200: "The page."},
    ),
    Endpoint(
        method="GET",
        path="/health",
        name="health",
        summary="Whether the process works",
        who="public",
        handler=documents.health,
        media="text/plain",
        says={200: "Yes.", 503: "No."},
    ),
    Endpoint(
        method="GET",
        path="/ready",
        name="ready",
        summary="Whether it takes calls now",
        who="public",
        handler=documents.ready,
        media="text/plain",
        says={200: "Yes.", 503: "No."},
    ),
)
