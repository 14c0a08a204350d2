"""Instruments mail: puts in the pixel, has its links lead over the edge, and changes nothing else.

    tracker = Tracker(read_keyring(Path("mailwake-keys.json")), "https://t.example.com")
    done = tracker.instrument(message, tenant="acme", user="ben")
    smtp.sendmail(sender, recipients, done.message)
    await publish(producer, settings, [done.send], [done.display])

Only the values of `<a href>` and `<area href>` with http(s), our own opt-out attributes and the
inserted pixel differ; every other byte stays, header fields among them, so that DKIM can sign
afterwards. What is signed, encrypted, attached or not HTML is left, and so is whatever cannot be
read surely. Text parts and the links inside Outlook's conditional comments are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailwake import contracts, ids
from mailwake.contracts import Display, Mode, Party, Send
from mailwake.errors import ConfigError, MailwakeError
from mailwake.keyring import Keyring
from mailwake.mime import Headers, addresses, decode_words, read_mail
from mailwake.rewriting import LeftLink, LeftPart, Report, Rewriter
from mailwake.tokens import Token

__all__ = ["Instrumented", "LeftLink", "LeftPart", "Report", "Tracker"]

MAX_RECIPIENTS = 10_000
"""Most recipients of one body; their ids must fit into one Kafka record of 1 MiB."""
_DISPLAY_BYTES = 400_000
_HEADER_URL = re.compile(r"<([^<>]*+)>")


@dataclass(frozen=True, slots=True)
class Instrumented:
    """An instrumented mail, and what to publish before it is sent.

    Attributes:
        message: the mail to send.
        original: the mail as it was given: what belongs into the sender's Sent folder.
    """

    message: bytes
    original: bytes
    send: Send
    display: Display
    report: Report


class Tracker:
    """Instruments mail for one tracking address. Thread-safe; one serves a whole process."""

    def __init__(self, keyring: Keyring, tracking_url: str) -> None:
        """`tracking_url` is the public address of the edge, such as `https://t.example.com`.

        Raises ConfigError when it is no such URL.
        """
        if not re.fullmatch(r"https?://[A-Za-z0-9._~:/\[\]-]+", tracking_url):
            raise ConfigError(
                f"tracking_url must be a URL such as https://t.example.com, not {tracking_url!r}"
            )
        self._keyring = keyring
        self._tracking_url = tracking_url.rstrip("/")

    def instrument(
        self,
        message: bytes,
        *,
        tenant: str,
        user: str,
        opens: bool = True,
        clicks: bool = True,
        recipients: Sequence[str] | None = None,
        mode: Mode = "identified",
        tag: str | None = None,
    ) -> Instrumented:
        """Instruments one mail.

        `recipients` are the addresses this body goes to; without them those of To, Cc and Bcc
        count. To one recipient the body speaks of that recipient; shared by several it can only
        tell that someone opened it. Mode anonymous keeps no recipient ids; it is also taken when
        there is no recipient to be found, and the report says so.

        Raises MailwakeError when `message` is no e-mail at all, when a recipient given is no
        address, when there are more than 10,000 of them, and when `tenant`, `user` or `tag` cannot
        stand in a send. However broken the mail is otherwise, it is left alone where it is.
        """
        mail = read_mail(message)
        report = Report(size_before=len(message))
        parties = _parties(mail.headers, recipients)
        if mode == "identified" and not parties:
            mode = "anonymous"
            report.warnings.append("no recipient was found, so the mail is tracked anonymously")
        if mail.headers.all("dkim-signature"):
            report.warnings.append(
                "the mail is DKIM-signed already, which no longer fits; sign after"
            )
        token = Token("open", tenant, ids.new_message_id(), int(len(parties) <= 1), mode)
        rewriter = Rewriter(
            token,
            self._keyring.seal,
            self._tracking_url,
            opens=opens,
            clicks=clicks,
            untouched=_unsubscribe_targets(mail.headers),
            report=report,
        )
        try:
            changed = rewriter.rewrite(message, mail.parts)
            send = Send(
                message_id=token.message_id,
                tenant=tenant,
                user=user,
                sent_at=ids.now_ms(),
                recipient_count=max(len(parties), 1),
                mode=mode,
                opens=report.pixel,
                clicks=report.links > 0,
                recipients=[
                    self._keyring.recipient_id(tenant, party.address)
                    for party in (parties if mode == "identified" else ())
                ],
                links=rewriter.targets,
                tag=tag,
            )
            display = Display(
                message_id=send.message_id,
                tenant=tenant,
                user=user,
                subject=decode_words(" ".join(mail.headers.all("subject")[:1]))[:998],
                recipients=_shown(parties),
                links=rewriter.texts,
            )
            contracts.SEND.decode(contracts.SEND.encode(send))
            contracts.DISPLAY.decode(contracts.DISPLAY.encode(display))
        except ValueError as error:  # of the token, or of the contracts
            raise MailwakeError(f"the mail cannot be tracked: {error}") from None
        report.size_after = len(changed)
        return Instrumented(changed, message, send, display, report)


def _parties(headers: Headers, given: Sequence[str] | None) -> list[Party]:
    """The recipients, each mailbox once; the names of those that are given come from the header."""
    fields = [value for name in ("to", "cc", "bcc") for value in headers.all(name)]
    named: dict[str, Party] = {}
    for name, address in addresses(fields):
        if len(address) <= 320:
            named.setdefault(ids.normalise_address(address), Party(address, name[:256]))
    if given is None:
        parties = named
    else:
        parties = {}
        for text in given:
            found = addresses([text])
            if len(found) != 1 or len(found[0][1]) > 320:
                raise MailwakeError(f"recipient {len(parties) + 1} of those given is no address")
            name, address = found[0]
            key = ids.normalise_address(address)
            name = name or (named[key].name if key in named else "")
            parties.setdefault(key, Party(address, name[:256]))
    if len(parties) > MAX_RECIPIENTS:
        raise MailwakeError(
            f"one body can go to {MAX_RECIPIENTS:,} recipients at most, not to {len(parties):,}; "
            "instrument the mail once for each group"
        )
    return list(parties.values())


def _shown(parties: Iterable[Party]) -> list[Party]:
    """As many of the recipients as fit into a display's record; nearly always all."""
    shown: list[Party] = []
    size = 0
    for party in parties:
        size += len(party.address.encode()) + len(party.name.encode()) + 30
        if size > _DISPLAY_BYTES:
            break
        shown.append(party)
    return shown


def _unsubscribe_targets(headers: Headers) -> frozenset[str]:
    """The addresses of List-Unsubscribe (RFC 2369), which mail programs fetch by themselves."""
    values = headers.all("list-unsubscribe")
    return frozenset(
        "".join(target.split()) for value in values for target in _HEADER_URL.findall(value)
    )
