"""Instruments mail: puts in the pixel, has its links lead over the edge, and changes nothing else.

    tracker = Tracker(read_keyring(Path("mailwake-keys.json")), "https://t.example.com")
    done = tracker.instrument(message, tenant="acme", user="ben")
    smtp.sendmail(sender, recipients, done.message)
    await publish(producer, settings, [done.send], [done.display])

Only the addresses of links, our own opt-out attributes, the pixel and, if wanted, the footer
differ; every other byte stays, header fields among them, so that DKIM can sign afterwards.
`restore` gives the original back to the byte. docs/library.md says which links are tracked and what
is left, and why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailwake import contracts, ids
from mailwake.addressing import fitting, recipients_of, unsubscribe_targets
from mailwake.contracts import RETENTION_DAYS, Display, LawfulBasis, Mode, Party, Send
from mailwake.errors import ConfigError, MailwakeError
from mailwake.instrumented import Instrumented, InstrumentedText
from mailwake.keyring import Keyring
from mailwake.mime import decode_words, read_mail
from mailwake.networks import cut
from mailwake.pieces import MAX_FOOTER, Pieces
from mailwake.report import LeftLink, LeftPart, Report
from mailwake.restoring import Restorer
from mailwake.rewriting import Rewriter
from mailwake.settings import Settings
from mailwake.tokens import MAX_READERS, Token, Withdrawal
from mailwake.transfer import newline_of

__all__ = ["Instrumented", "InstrumentedText", "LeftLink", "LeftPart", "Report", "Tracker"]

_AGENT_MOST = 512
_URL = re.compile(r"https?://[A-Za-z0-9._~:/\[\]-]+")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was asked for, the same for each way of asking."""

    tenant: str
    user: str
    parties: list[Party]
    opens: bool
    clicks: bool
    mode: Mode
    tag: str | None
    message_id: str | None
    basis: LawfulBasis | None
    footer: str | None
    sender_network: str
    sender_agent: str
    retention_days: int


def tracker_of(settings: Settings, keyring: Keyring) -> Tracker:
    """The tracker of an installation. Raises ConfigError for a wrong address."""
    return Tracker(
        keyring,
        settings.tracking_url,
        withdrawal_url=settings.withdrawal_url,
        domains={each.tenant: each.url for each in settings.tracking_domains},
    )


class Tracker:
    """Instruments mail for one edge. Thread-safe; one serves a whole process."""

    def __init__(
        self,
        keyring: Keyring,
        tracking_url: str,
        *,
        withdrawal_url: str | None = None,
        domains: Mapping[str, str] | None = None,
    ) -> None:
        """`tracking_url` is the public address of the edge, such as `https://t.example.com`.

        `withdrawal_url` is where recipients' withdrawal pages stand (below `/w/`); the same,
        unless given. `domains` has the addresses of tenants whose pixels and links point to one of
        their own. Raises ConfigError when one is no such URL.
        """
        own = {f"the tracking URL of {tenant}": url for tenant, url in (domains or {}).items()}
        for name, url in (
            ("tracking_url", tracking_url),
            ("withdrawal_url", withdrawal_url),
            *own.items(),
        ):
            if url is not None and not _URL.fullmatch(url):
                raise ConfigError(
                    f"{name} must be a URL such as https://t.example.com, not {url!r}"
                )
        self._keyring = keyring
        self._tracking_url = tracking_url.rstrip("/")
        self._withdrawal_url = (withdrawal_url or tracking_url).rstrip("/")
        self._domains = {tenant: url.rstrip("/") for tenant, url in (domains or {}).items()}
        addresses = {self._tracking_url, *self._domains.values()}
        self._restorer = Restorer(keyring, sorted(addresses), self._withdrawal_url)

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
        message_id: str | None = None,
        basis: LawfulBasis | None = None,
        footer: str | None = None,
        sender_network: str = "",
        sender_agent: str = "",
        retention_days: int = RETENTION_DAYS,
    ) -> Instrumented:
        """Instruments one mail. Old tracking of ours in it is undone first.

        `recipients` are the addresses this body goes to; without them those of To, Cc and Bcc
        count. To one recipient the body speaks of that recipient; shared by several it can only
        tell that someone opened it. Mode anonymous keeps no recipient ids; it is also taken when
        there is no recipient to be found, and for a body shared by more than 16, whose withdrawals
        the edge could not follow; the report says so.

        `message_id` (32 hex digits) makes a repeated call give the same bytes. `basis` goes into
        the send. `footer` is a sentence that becomes a link to the recipient's withdrawal page, in
        a tracked body of one identified recipient.

        `sender_network` and `sender_agent` tell where the sender sent from, so that the sender's
        own opens are told from the recipients': the network of the sender's address
        (`mailwake.networks.cut`), and the mail program or browser. In mode anonymous they are left
        out of the send. `retention_days` is how many days after it is sent the mail is tracked, 1
        to 180.

        Raises MailwakeError when `message` is no e-mail at all, when a recipient given is no
        address, when there are more than 10,000 of them, and when another argument cannot stand in
        a send. However broken the mail is otherwise, it is left alone where it is.
        """
        mail = read_mail(message)
        report = Report(size_before=len(message))
        if mail.headers.all("dkim-signature"):
            report.warnings.append(
                "the mail is DKIM-signed already, which no longer fits; sign after"
            )
        wanted = _Wanted(
            tenant=tenant,
            user=user,
            parties=recipients_of(mail.headers, recipients),
            opens=opens,
            clicks=clicks,
            mode=mode,
            tag=tag,
            message_id=message_id,
            basis=basis,
            footer=footer,
            sender_network=sender_network,
            sender_agent=sender_agent,
            retention_days=retention_days,
        )
        try:
            token = self._token(wanted, report)
            rewriter, pieces = self._rewriter(
                wanted, token, report, untouched=unsubscribe_targets(mail.headers)
            )
            changed = rewriter.message(message, mail.parts, newline_of(message))
            subject = decode_words(" ".join(mail.headers.all("subject")[:1]))
            send, display = self._told(wanted, token, pieces, report, subject)
        except ValueError as error:  # of the token, or of the contracts
            raise MailwakeError(f"the mail cannot be tracked: {error}") from None
        report.size_after = len(changed)
        return Instrumented(changed, message, send, display, report)

    def instrument_html(
        self,
        html: str,
        *,
        tenant: str,
        user: str,
        recipients: Sequence[str],
        opens: bool = True,
        clicks: bool = True,
        mode: Mode = "identified",
        tag: str | None = None,
        message_id: str | None = None,
        basis: LawfulBasis | None = None,
        footer: str | None = None,
        sender_network: str = "",
        sender_agent: str = "",
        retention_days: int = RETENTION_DAYS,
        subject: str = "",
        of: InstrumentedText | None = None,
    ) -> InstrumentedText:
        """Instruments the HTML of a mail that is yet to be put together, as `instrument` does.

        `of` is the plain text of the same mail, when it was instrumented before: both share one
        send then, and the one that comes back covers both. Raises MailwakeError.
        """
        parties = recipients_of(None, recipients)
        wanted = _Wanted(
            *(tenant, user, parties, opens, clicks, mode, tag, message_id, basis, footer),
            *(sender_network, sender_agent, retention_days),
        )
        return self._instrument_text(html, wanted, subject, of, plain=False)

    def instrument_text(
        self,
        text: str,
        *,
        tenant: str,
        user: str,
        recipients: Sequence[str],
        opens: bool = True,
        clicks: bool = True,
        mode: Mode = "identified",
        tag: str | None = None,
        message_id: str | None = None,
        basis: LawfulBasis | None = None,
        footer: str | None = None,
        sender_network: str = "",
        sender_agent: str = "",
        retention_days: int = RETENTION_DAYS,
        subject: str = "",
        of: InstrumentedText | None = None,
    ) -> InstrumentedText:
        """Instruments the plain text of a mail, as `instrument_html` does; there is no pixel."""
        parties = recipients_of(None, recipients)
        wanted = _Wanted(
            *(tenant, user, parties, opens, clicks, mode, tag, message_id, basis, footer),
            *(sender_network, sender_agent, retention_days),
        )
        return self._instrument_text(text, wanted, subject, of, plain=True)

    def restore(self, message: bytes) -> bytes:
        """The mail without any tracking that our keys open: to the byte as it was before.

        Raises MailwakeError when it is no e-mail at all.
        """
        newline = newline_of(message)
        pieces: list[bytes] = []
        at = 0
        for part in read_mail(message).parts:
            if part.reason is None:
                plain = part.content_type == "text/plain"
                encoded = message[part.start : part.end]
                pieces.append(message[at : part.start])
                pieces.append(self._restorer.part(encoded, part.encoding, newline, text=plain))
                at = part.end
        return b"".join([*pieces, message[at:]])

    def restore_html(self, html: str) -> str:
        """The HTML without any tracking that our keys open."""
        return _from_bytes(self._restorer.loose(_to_bytes(html), text=False))

    def restore_text(self, text: str) -> str:
        """The plain text without any tracking that our keys open."""
        return _from_bytes(self._restorer.loose(_to_bytes(text), text=True))

    def withdrawal_link(self, tenant: str, address: str) -> str:
        """The address of the page where a recipient withdraws; for a sender's own footer.

        Raises MailwakeError when there can be no such tenant.
        """
        recipient_id = self._keyring.recipient_id(tenant, address)
        try:
            sealed = self._keyring.seal_withdrawal(Withdrawal(tenant, recipient_id))
        except ValueError as error:
            raise MailwakeError(f"there is no withdrawal page: {error}") from None
        return f"{self._withdrawal_url}/w/{sealed}"

    def _instrument_text(
        self, text: str, wanted: _Wanted, subject: str, of: InstrumentedText | None, *, plain: bool
    ) -> InstrumentedText:
        content = _to_bytes(text)
        report = Report(size_before=len(content))
        try:
            token = self._token(wanted, report, of)
            rewriter, pieces = self._rewriter(wanted, token, report, of=of)
            changed = rewriter.loose(content, plain=plain)
            send, display = self._told(wanted, token, pieces, report, subject, of)
        except ValueError as error:
            raise MailwakeError(f"the text cannot be tracked: {error}") from None
        report.size_after = len(changed)
        return InstrumentedText(_from_bytes(changed), text, send, display, report)

    def _token(self, wanted: _Wanted, report: Report, of: InstrumentedText | None = None) -> Token:
        """The pixel's token; the links' take after it."""
        mode: Mode = wanted.mode
        parties = wanted.parties
        if mode == "identified" and not parties:
            mode = "anonymous"
            report.warnings.append("no recipient was found, so the mail is tracked anonymously")
        elif mode == "identified" and len(parties) > MAX_READERS:
            mode = "anonymous"
            report.warnings.append(
                f"a body shared by more than {MAX_READERS} recipients is tracked anonymously; "
                "instrument the mail once for each to tell them apart"
            )
        message_id = of.send.message_id if of else wanted.message_id
        if message_id is None:
            message_id = ids.new_message_id()
        ids_of_readers = self._recipient_ids(wanted, mode)
        return Token(
            "open",
            wanted.tenant,
            message_id,
            int(len(parties) <= 1),
            mode,
            readers=tuple(map(ids.reader_of, ids_of_readers)),
        )

    def _recipient_ids(self, wanted: _Wanted, mode: Mode) -> list[str]:
        if mode == "anonymous":
            return []
        return [self._keyring.recipient_id(wanted.tenant, one.address) for one in wanted.parties]

    def _rewriter(
        self,
        wanted: _Wanted,
        token: Token,
        report: Report,
        *,
        untouched: frozenset[str] = frozenset(),
        of: InstrumentedText | None = None,
    ) -> tuple[Rewriter, Pieces]:
        footer: tuple[str, Withdrawal] | None = None
        if wanted.footer is not None:
            sentence = " ".join(wanted.footer.split())
            if not 0 < len(sentence) <= MAX_FOOTER:
                raise ValueError(f"a footer is a sentence of 1 to {MAX_FOOTER} characters")
            if token.mode == "identified" and len(wanted.parties) == 1:
                [recipient_id] = self._recipient_ids(wanted, token.mode)
                footer = sentence, Withdrawal(wanted.tenant, recipient_id)
            else:
                report.warnings.append(
                    "there is no footer, for the body is not that of one identified recipient"
                )
        pieces = Pieces(
            token,
            self._keyring,
            self._domains.get(wanted.tenant, self._tracking_url),
            self._withdrawal_url,
            footer=footer,
            targets=of.send.links if of else (),
            texts=of.display.links if of else (),
            report=report,
        )
        rewriter = Rewriter(
            pieces,
            self._restorer,
            opens=wanted.opens and not (of and of.send.opens),
            clicks=wanted.clicks,
            untouched=untouched,
            report=report,
        )
        return rewriter, pieces

    def _told(
        self,
        wanted: _Wanted,
        token: Token,
        pieces: Pieces,
        report: Report,
        subject: str,
        of: InstrumentedText | None = None,
    ) -> tuple[Send, Display]:
        """What is to be published. Raises ValueError for what cannot stand there."""
        network, agent = _sender(wanted, token.mode)
        send = Send(
            message_id=token.message_id,
            tenant=wanted.tenant,
            user=wanted.user,
            sent_at=of.send.sent_at if of else ids.now_ms(),
            recipient_count=max(len(wanted.parties), 1),
            mode=token.mode,
            opens=report.pixel or bool(of and of.send.opens),
            clicks=bool(pieces.targets),
            recipients=self._recipient_ids(wanted, token.mode),
            links=pieces.targets,
            tag=wanted.tag,
            basis=wanted.basis,
            sender_network=network,
            sender_agent=agent,
            retention_days=wanted.retention_days,
        )
        display = Display(
            message_id=send.message_id,
            tenant=wanted.tenant,
            user=wanted.user,
            subject=" ".join(subject.split())[:998] or (of.display.subject if of else ""),
            recipients=fitting(wanted.parties),
            links=pieces.texts,
        )
        contracts.SEND.decode(contracts.SEND.encode(send))
        contracts.DISPLAY.decode(contracts.DISPLAY.encode(display))
        return send, display


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _from_bytes(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")


def _sender(wanted: _Wanted, mode: Mode) -> tuple[str, str]:
    """What a send tells of where it was sent from: network and agent. Raises ValueError."""
    network = wanted.sender_network
    if network and cut(network.partition("/")[0]) != network:  # above all not a whole address
        raise ValueError(
            "sender_network must be a network such as 203.0.113.0/24 or 2001:db8:1::/48; "
            "mailwake.networks.cut makes it of an address"
        )
    if mode == "anonymous":
        return "", ""
    agent = "".join(filter(str.isprintable, wanted.sender_agent)).strip()
    return network, agent[:_AGENT_MOST]
