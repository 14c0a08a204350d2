"""The bell: what there is to tell, in sentences, and what of it is read."""

from __future__ import annotations

from starlette.responses import Response

from mailwake.ids import now_ms
from mailwake_api import alerts, returning, stream
from mailwake_api.alerts import Alerts, Listed, Reading, Shown, Unread
from mailwake_api.mails import Mail, read_mails
from mailwake_api.preferences import ForUser
from mailwake_api.stream import Resuming
from mailwake_api.web.clock import length
from mailwake_api.web.mailbox import people, title
from mailwake_api.web.visit import Visit

PER_PAGE = 30


async def show(visit: Visit) -> Response:
    """`GET /bell`: the newest, in sentences."""
    cursor = visit.word("cursor", 64)
    found = await visit.ask(
        alerts.listed, Alerts, asked=Listed(cursor=cursor or None, limit=PER_PAGE)
    )
    who, parts = visit.who, visit.parts
    ids = list(dict.fromkeys(each.message_id for each in found.alerts))
    mails = {
        mail.message_id: mail
        for mail in await read_mails(parts.reader, parts.denials, who.tenant, who.sub, ids)
    }
    back = {each.message_id for each in found.alerts if each.returned}
    known = [
        message_id
        for message_id in back
        if (mail := mails.get(message_id)) and not (mail.opens.withheld or mail.clicks.withheld)
    ]
    times = await returning.times(parts.reader, who.tenant, who.sub, known)
    told = [
        (
            each,
            *sentence(
                each,
                mails.get(each.message_id),
                returning.quiet_before(times.get(each.message_id, ()), each.at),
            ),
        )
        for each in found.alerts
    ]
    return visit.page(
        "bell.html",
        groups=visit.clock.by_day(told, lambda each: each[0].at),
        older=f"/bell?cursor={found.next}" if found.next else None,
        newest_at=max((each.at for each in found.alerts), default=0),
    )


async def read(visit: Visit) -> Response:
    """`POST /bell/read`: all up to the newest that was shown, or one."""
    one = visit.form.get("alert", "")
    up_to = visit.form.get("up_to", "")
    if len(one) == 32:
        reading = Reading(alert_ids=[one])
    else:
        now = now_ms()
        reading = Reading(up_to=min(int(up_to), now) if up_to.isdecimal() else now)
    await visit.ask(alerts.mark_read, Unread, asked=ForUser(), body=reading)
    return visit.go("/bell")


async def listen(visit: Visit) -> Response:
    """`GET /bell/stream`: what comes, as it comes."""
    return await visit.answer(
        stream.stream, asked=Resuming(last_event_id=visit.word("last", 64) or None)
    )


def sentence(
    alert: Shown, mail: Mail | None, quiet_ms: int | None = None
) -> tuple[str, str, str, str]:
    """Who did what, to which mail, and how often: in four pieces, of which the last may be empty.

    `quiet_ms` is for how long the mail had been quiet before; None where that is not known. Of a
    body that several share nobody knows whether several acts are one reader's.
    """
    several = alert.count > 1
    who = "Someone"
    if mail is not None and alert.recipient_count == 1 and mail.recipients:
        who = people(mail)
    elif alert.recipient_count == 1:
        who = "The recipient"
    elif alert.recipient_count > 1:
        who = f"{'One or more' if several else 'Someone'} of {alert.recipient_count} recipients"
    did = "opened" if alert.kind == "open" else "followed a link in"
    how = []
    if alert.returned:
        how.append(f"again after {length(quiet_ms)}" if quiet_ms else "again after a long time")
    if several:
        times = "twice" if alert.count == 2 else f"{alert.count} times"
        how.append(f"{times} in {length(max(alert.last_at - alert.at, 0))}")
    return who, did, title(mail) if mail else "a mail", ", ".join(how)
