"""Names to addresses that may be connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence

from mailwake.guard import Network, RefusedError, check_address

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name as texts; raises OSError when there are none."""

MOST_LOOKUPS = 256
_lookups = threading.BoundedSemaphore(MOST_LOOKUPS)


class Resolver:
    """Resolves a name anew for each connection, and refuses it when any of its addresses is not to
    be connected to: a name that mixes public and private ones has no good reason to."""

    def __init__(self, networks: Sequence[Network] = (), lookup: Lookup | None = None) -> None:
        """`networks` are allowed beside the public Internet."""
        self._networks = tuple(networks)
        self._lookup = lookup or look_up

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a name, or the one that stands there. Raises RefusedError, OSError."""
        found = list(dict.fromkeys(await self._lookup(host, port)))
        if not found:
            raise socket.gaierror("the name has no address")
        for text in found:
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                raise RefusedError("the name stands for something that is no address") from None
            check_address(address, self._networks)
        return found


async def look_up(host: str, port: int) -> list[str]:
    """Asks the system's resolver. Raises OSError; also when too many names are asked for at once.

    In a thread of its own that is left behind when nobody waits any more: the system's resolver
    cannot be stopped, and a pool would fill with names whose servers do not answer.
    """
    if not _lookups.acquire(blocking=False):
        raise socket.gaierror("too many names are looked up at once")
    loop = asyncio.get_running_loop()
    told: asyncio.Future[list[str]] = loop.create_future()

    def tell(found: list[str] | None, error: Exception | None) -> None:
        if told.done():
            return
        if error is not None:
            told.set_exception(error)
        else:
            told.set_result(found or [])

    def work() -> None:
        found, failed = None, None
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = [str(answer[4][0]) for answer in answers]
        except (OSError, UnicodeError) as error:
            failed = error if isinstance(error, OSError) else socket.gaierror("no name of the DNS")
        finally:
            _lookups.release()
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, found, failed)

    threading.Thread(target=work, name="look up", daemon=True).start()
    return await told
