"""A website on this machine, for browsers to open."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from mailwake_local.ports import HOST


class Website:
    """Serves pages by their path, 404 for the rest; as a context manager it is gone after.

    Attributes:
        pages: path without its query → (content type, body). May be changed while it serves.
        asked: what was asked for, in its order: the host and the request target, by the letter;
            not the icon, which browsers want when they like.
    """

    def __init__(self) -> None:
        self.pages: dict[str, tuple[str, bytes]] = {}
        self.asked: list[tuple[str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer is one packet

            def do_GET(self) -> None:
                if self.path != "/favicon.ico":
                    site.asked.append((self.headers["Host"], self.path))
                kind, body = site.pages.get(self.path.partition("?")[0], ("", b""))
                with contextlib.suppress(ConnectionError):  # a browser that was closed
                    self.send_response(200 if kind else 404)
                    self.send_header("Content-Type", kind or "text/plain")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keeps quiet."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.host = f"{HOST}:{self._server.server_port}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Website:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
