"""`POST /v1/sends`: instruments a mail, or its HTML and text, and publishes what was sent.

The answer goes out when Kafka has acknowledged the send; so no tracked mail is without one. What
may not be tracked comes back as it was given, and nothing is published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from mailwake.addressing import MAX_RECIPIENTS
from mailwake.contracts import (
    Display,
    Id,
    LawfulBasis,
    Millis,
    Mode,
    Purpose,
    Send,
    Tag,
    Toggles,
    User,
)
from mailwake.errors import MailwakeError, UnavailableError
from mailwake.ids import message_id_of, new_message_id, now_ms
from mailwake.mime import addresses, read_mail
from mailwake.networks import cut
from mailwake.permission import Permission, Refusal
from mailwake.report import Report
from mailwake_api.call import Call, as_json
from mailwake_api.problems import Problem

RECIPIENTS_FIELD = "mailwake-recipients"
"""The header field with the recipients of a mail that is sent as message/rfc822; an address never
stands in a query."""

Given = Annotated[str, Meta(min_length=1, max_length=256)]
Footer = Annotated[str, Meta(min_length=1, max_length=500)]
Address = Annotated[str, Meta(min_length=3, max_length=1000)]


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """What may be said of a send.

    Attributes:
        id: the platform's own id of this body; the same id makes the same send again.
        user: the sender; named by a token of role platform, and by no other.
        opens: whether opens are to be tracked; the user's own toggle, unless given.
        clicks: whether clicks are to be tracked; the user's own toggle, unless given.
        mode: the most that is to be kept: identified, or anonymous (counts alone).
        tag: the campaign or label that reports group by.
        footer: a sentence that becomes a link to the recipient's withdrawal page, in a tracked body
            of one recipient.
        sent_at: when the mail is sent, in milliseconds since 1970; now, unless given.
    """

    id: Given | None = None
    user: User | None = None
    opens: bool | None = None
    clicks: bool | None = None
    mode: Mode = "identified"
    tag: Tag | None = None
    footer: Footer | None = None
    sent_at: Millis | None = None


class Sender(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the user sends from, so that the user's own opens are told from the recipients'.

    Attributes:
        address: the IP address of the user's computer; only its network is kept (/24, /48).
        agent: the User-Agent of the user's browser or mail program.
    """

    address: Annotated[str, Meta(max_length=64)] = ""
    agent: Annotated[str, Meta(max_length=512)] = ""


class SendRequest(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mail to be tracked: whole (`message`), or as its `html`, its `text` or both.

    Attributes:
        message: the mail as it goes to SMTP (RFC 5322), base64.
        subject: for the sender's own mailbox, beside html and text; a mail has its own.
        recipients: the addresses this body goes to. One has a body of its own; several share one,
            which can only tell that someone opened it. A mail without them goes to To, Cc and Bcc.
        sender: where the user sends from, if known; mode anonymous keeps nothing of it.
    """

    message: bytes | None = None
    html: str | None = None
    text: str | None = None
    subject: Annotated[str, Meta(max_length=998)] = ""
    recipients: Annotated[list[Address], Meta(max_length=MAX_RECIPIENTS)] | None = None
    sender: Sender = Sender()


class Tracked(Struct, frozen=True):
    """What is tracked of a body, and why not more.

    Attributes:
        mode: None when nothing is.
        basis: what makes it lawful.
        refused: of each purpose that may not be tracked, why: not_wanted, ceiling (the tenant's
            policy), denied (by a recipient), unknown (a recipient has not been asked).
    """

    opens: bool
    clicks: bool
    mode: Mode | None
    basis: LawfulBasis | None
    refused: dict[Purpose, Refusal]


class Sent(Struct, frozen=True, omit_defaults=True):
    """The body to send.

    Attributes:
        message_id: the id of the send; None when nothing is tracked and so nothing was published.
        message, html, text: as in the request, with what tracks put in.
        report: what was rewritten, what was left and why, of each of them.
    """

    message_id: Id | None
    tracked: Tracked
    report: dict[str, Report]
    message: bytes | None = None
    html: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class _Made:
    """A body, and what to publish; `send` is None when nothing in it tracks."""

    send: Send | None
    display: Display | None
    report: dict[str, Report]
    message: bytes | None = None
    html: str | None = None
    text: str | None = None


async def send(call: Call) -> Response:
    """Instruments one body as far as may be, publishes its send, and gives it back."""
    wanted = _wanted(call)
    if wanted.message is None and wanted.html is None and wanted.text is None:
        raise Problem(422, "no_body", "give `message`, or `html`, `text` or both")
    if wanted.message is not None and (wanted.html is not None or wanted.text is not None):
        raise Problem(422, "two_bodies", "give either `message`, or `html` and `text`, not both")
    if wanted.message is None and not wanted.recipients:
        raise Problem(422, "no_recipients", "`html` and `text` want `recipients`, at least one")
    if wanted.sender.address and not cut(wanted.sender.address):
        raise Problem(422, "sender_address", "`sender.address` must be an IP address")
    tenant, user = call.caller.tenant, call.user(wanted.user)
    register, published = call.parts.register, call.parts.published
    await register.current()
    toggles = register.toggles(tenant, user)
    toggles = Toggles(
        toggles.opens if wanted.opens is None else wanted.opens,
        toggles.clicks if wanted.clicks is None else wanted.clicks,
    )
    try:
        recipients = await asyncio.to_thread(_recipients, wanted)
        permission = register.permission(
            tenant,
            [call.parts.keyring.recipient_id(tenant, each) for each in recipients],
            toggles,
            wanted.mode,
        )
        if not permission:
            return as_json(_answer(wanted, permission, _untouched(wanted)))
        message_id = message_id_of(tenant, wanted.id) if wanted.id else new_message_id()
        made = await asyncio.to_thread(
            _instrument, call, wanted, user, recipients, permission, message_id
        )
    except UnavailableError:
        raise
    except MailwakeError as error:
        raise Problem(422, "not_trackable", str(error)) from None
    if made.send is not None and made.display is not None:
        at = published.dated(message_id, now_ms()) if wanted.sent_at is None else wanted.sent_at
        dated = msgspec.structs.replace(made.send, sent_at=at)
        if not published.has(dated, made.display):
            await call.parts.connection.publish([dated], [made.display])
            if wanted.id:
                published.note(dated, made.display)
    return as_json(_answer(wanted, permission, made))


def _wanted(call: Call) -> SendRequest:
    """The request, whichever of the two ways it came."""
    if isinstance(call.body, SendRequest):
        if call.asked != Options():
            raise Problem(422, "query", "beside a JSON body nothing stands in the query")
        body: SendRequest = call.body
        return body
    options: Options = call.asked
    # As bytes, for Starlette reads them as Latin-1, and an address may go beyond ASCII in UTF-8.
    field = RECIPIENTS_FIELD.encode()
    named = [
        value.decode(errors="replace") for name, value in call.request.headers.raw if name == field
    ]
    recipients = [each.strip() for value in named for each in value.split(",") if each.strip()]
    given = {name: getattr(options, name) for name in options.__struct_fields__}
    return SendRequest(**given, message=call.body, recipients=recipients or None)


def _recipients(wanted: SendRequest) -> list[str]:
    """The addresses this body goes to. Raises MailwakeError; its text holds none of them."""
    if wanted.recipients:
        for place, each in enumerate(wanted.recipients, 1):
            if len(addresses([each])) != 1:
                raise MailwakeError(f"recipient {place} of those given is no address")
        return [addresses([each])[0][1] for each in wanted.recipients]
    headers = read_mail(wanted.message or b"").headers
    fields = [value for name in ("to", "cc", "bcc") for value in headers.all(name)]
    return [address for _, address in addresses(fields) if len(address) <= 320]


def _instrument(
    call: Call,
    wanted: SendRequest,
    user: str,
    recipients: Sequence[str],
    permission: Permission,
    message_id: str,
) -> _Made:
    tracker = call.parts.tracker
    told: dict[str, Any] = {
        "tenant": call.caller.tenant,
        "user": user,
        "opens": permission.opens,
        "clicks": permission.clicks,
        "mode": permission.mode,
        "tag": wanted.tag,
        "message_id": message_id,
        "basis": permission.basis,
        "footer": wanted.footer,
        "sender_network": cut(wanted.sender.address),
        "sender_agent": wanted.sender.agent,
        "retention_days": permission.retention_days,
    }
    if wanted.message is not None:
        mail = tracker.instrument(wanted.message, recipients=wanted.recipients or None, **told)
        return _made(mail.send, mail.display, {"message": mail.report}, message=mail.message)
    told |= {"recipients": recipients, "subject": wanted.subject}
    text = html = None
    if wanted.text is not None:
        text = tracker.instrument_text(wanted.text, **told)
    if wanted.html is not None:
        html = tracker.instrument_html(wanted.html, of=text, **told)
    last = html or text
    assert last is not None  # noqa: S101 (one of the two was given)
    reports = {"html": html and html.report, "text": text and text.report}
    return _made(
        last.send,
        last.display,
        {name: report for name, report in reports.items() if report},
        html=html.text if html else None,
        text=text.text if text else None,
    )


def _made(send: Send, display: Display, report: dict[str, Report], **bodies: Any) -> _Made:
    """Nothing is published of a body in which there was nothing to track."""
    if send.opens or send.clicks:
        return _Made(send, display, report, **bodies)
    return _Made(None, None, report, **bodies)


def _untouched(wanted: SendRequest) -> _Made:
    return _Made(None, None, {}, wanted.message, wanted.html, wanted.text)


def _answer(wanted: SendRequest, permission: Permission, made: _Made) -> Sent:
    sent = made.send
    tracked = Tracked(
        opens=bool(sent and sent.opens),
        clicks=bool(sent and sent.clicks),
        mode=sent.mode if sent else None,
        basis=sent.basis if sent else None,
        refused=dict(permission.refused),
    )
    return Sent(
        sent.message_id if sent else None,
        tracked,
        made.report,
        made.message,
        made.html,
        made.text,
    )
