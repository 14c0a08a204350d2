"""Parsers of settings: each reads a text, or raises ValueError that says what it must be."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def text(value: str) -> str:
    """Any text that is not empty."""
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number between two bounds, both allowed."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value) or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def decimal(low: float, high: float) -> Callable[[str], float]:
    """A number between two bounds, both allowed."""

    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return number

    return parse


def waits(value: str) -> tuple[float, ...]:
    """Waits in seconds, with commas: at least one, at most fifteen, none above a day."""
    wanted = "must be 1 to 15 waits in seconds, each from 0.01 to 86400, as in 5,300,1800"
    read = decimal(0.01, 86_400)
    try:
        found = tuple(read(part) for part in value.split(","))
    except ValueError:
        raise ValueError(wanted) from None
    if len(found) > 15:
        raise ValueError(wanted)
    return found


def one_of(*choices: str) -> Callable[[str], str]:
    """One of the given words."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


def bootstrap(value: str) -> str:
    """Kafka addresses, `host:port`, several with commas."""
    for address in value.split(","):
        host, colon, port = address.strip().rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(
                "must be host:port, several with commas, as in kafka-1:9092,kafka-2:9092"
            )
    return value.replace(" ", "")


def url(*schemes: str) -> Callable[[str], str]:
    """A URL with a host and one of the given schemes; a slash at its end is taken off."""

    def parse(value: str) -> str:
        wanted = f"must be a URL such as {schemes[0]}://host:port"
        try:
            parts = urlsplit(value)
            valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(wanted)
        return value.rstrip("/")

    return parse


@dataclass(frozen=True, slots=True)
class TenantUrl:
    """The address of one tenant's own; as text, `acme=https://t.acme.example`."""

    tenant: str
    url: str

    def __str__(self) -> str:
        return f"{self.tenant}={self.url}"

    @property
    def host(self) -> str:
        """What the header Host says of requests to it, in lower case."""
        parts = urlsplit(self.url.lower())
        usual = parts.port == {"http": 80, "https": 443}[parts.scheme]
        return parts.netloc.rpartition(":")[0] if usual else parts.netloc


def tenant_urls(value: str) -> tuple[TenantUrl, ...]:
    """Addresses of tenants, with commas; may be empty. No tenant and no host stands there twice."""
    wanted = "must be tenants with their URLs, as in acme=https://t.acme.example"
    read_url, found = url("https", "http"), []
    for part in value.split(","):
        tenant, equals, address = part.strip().partition("=")
        if not equals and not tenant:
            continue
        if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,19}", tenant):
            raise ValueError(wanted)
        try:
            found.append(TenantUrl(tenant, read_url(address)))
        except ValueError:
            raise ValueError(wanted) from None
    for what in ({each.tenant for each in found}, {each.host for each in found}):
        if len(what) < len(found):
            raise ValueError("must name each tenant once, and each host for one tenant alone")
    return tuple(found)


def url_or_empty(*schemes: str) -> Callable[[str], str]:
    """The same, or the empty text."""
    parse = url(*schemes)
    return lambda value: parse(value) if value.strip() else ""


def mailbox(value: str) -> str:
    """Whom a mail is from: an address, or a name and an address."""
    _, address = parseaddr(value)
    local, at, domain = address.rpartition("@")
    if not (at and local and domain) or not value.isprintable() or " " in address:
        raise ValueError("must be an address such as Mailwake <mailwake@example.com>")
    return value.strip()


def path(value: str) -> Path:
    """A path; `~` is the home folder."""
    try:
        return Path(text(value)).expanduser()
    except RuntimeError:
        raise ValueError("must be a path, but begins with the home of an unknown user") from None


def path_or_none(value: str) -> Path | None:
    """A path, or None of the empty text."""
    return path(value) if value.strip() else None


def networks(value: str) -> tuple[Network, ...]:
    """Networks in CIDR form, with commas; may be empty."""
    try:
        return tuple(
            ipaddress.ip_network(part.strip()) for part in value.split(",") if part.strip()
        )
    except ValueError:
        raise ValueError("must be networks such as 10.0.0.0/8,fd00::/8") from None


def prefix(value: str) -> str:
    """What topic names may begin with: letters, digits, dot, dash, underscore; may be empty."""
    if value.strip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"):
        raise ValueError("must be letters, digits, dots, dashes and underscores")
    return value
