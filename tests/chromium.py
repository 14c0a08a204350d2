"""Drives a real headless Chromium over its pipe: opens pages, asks their DOM, takes their picture.

It speaks the DevTools protocol (chromedevtools.github.io/devtools-protocol) as JSON messages that
end with NUL, on the file descriptors 3 and 4 that `--remote-debugging-pipe` names; so one start
serves any number of pages, and no package is needed.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

PROGRAM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    PROGRAM is None, reason="no chromium: sudo apt-get install chromium"
)
TIMEOUT_S = 60.0
WIDTH, HEIGHT = 800, 64
"""Of the window, in pixels; so low that every page is higher and shows how high it is itself."""
_FLAGS = (
    "--headless",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-features=HttpsUpgrades",
    "--remote-debugging-pipe",
)


class Chromium:
    """A fresh Chromium with its own profile; as a context manager it is gone after.

    Mail points to anywhere, but only this machine is asked: every other host is not found, or is
    `elsewhere`, a host and port, for the browser.
    """

    def __init__(self, profile: Path, elsewhere: str = "~NOTFOUND") -> None:
        assert PROGRAM is not None
        hosts = f"--host-resolver-rules=MAP * {elsewhere}, EXCLUDE 127.0.0.1"
        # Above 10, so that neither end is one of the descriptors it is to become.
        theirs, self._to = map(_above, os.pipe())
        self._from, writing = map(_above, os.pipe())
        command = [PROGRAM, *_FLAGS, hosts, f"--user-data-dir={profile}", "about:blank"]
        null = os.open(os.devnull, os.O_RDWR)
        self._pid = os.posix_spawn(
            PROGRAM,
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, null, 2),
                (os.POSIX_SPAWN_DUP2, theirs, 3),
                (os.POSIX_SPAWN_DUP2, writing, 4),
            ],
            setsid=True,
        )
        for end in (null, theirs, writing):
            os.close(end)
        self._held = b""
        self._calls = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command and its result; what happens meanwhile is appended to `events`."""
        self._calls += 1
        number = self._calls
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def read(self, seconds: float = TIMEOUT_S) -> dict[str, Any]:
        """The next message. Fails when there is none in time."""
        deadline = time.monotonic() + seconds
        while b"\0" not in self._held:
            ready, _, _ = select.select([self._from], [], [], deadline - time.monotonic())
            more = os.read(self._from, 1 << 20) if ready else b""
            assert more, "Chromium has ended" if ready else f"Chromium is silent for {seconds:g} s"
            self._held += more
        message, _, self._held = self._held.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def context(self) -> str:
        """A new context: cookies and a memory of its own, as another person's browser has them."""
        found: str = self.call("Target.createBrowserContext")["browserContextId"]
        return found

    def page(self, context: str | None = None) -> Page:
        """A new page, of a context or of the one that all others share."""
        where = {} if context is None else {"browserContextId": context}
        target = self.call("Target.createTarget", url="about:blank", **where)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, target, session)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._to)
        os.close(self._from)


class Page:
    """One page."""

    def __init__(self, browser: Chromium, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        for domain in ("Page", "Network", "Log"):
            self._call(f"{domain}.enable")
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def _events(self, method: str) -> list[dict[str, Any]]:
        return [
            event["params"]
            for event in self._browser.events
            if event.get("sessionId") == self._session and event["method"] == method
        ]

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for, redirects among them; not the site's icon."""
        asked = (event["request"]["url"] for event in self._events("Network.requestWillBeSent"))
        return [url for url in asked if not url.endswith("/favicon.ico")]

    @property
    def blocked(self) -> list[str]:
        """What the browser says of what a page's policy did not let through."""
        entries = (event["entry"] for event in self._events("Log.entryAdded"))
        return [entry["text"] for entry in entries if entry["source"] == "security"]

    def open(self, url: str) -> None:
        """Goes to an address and waits until the page is loaded, or has failed to."""
        loaded = len(self._events("Page.loadEventFired"))
        if "loaderId" not in self._call("Page.navigate", url=url):
            return  # another fragment of the page it is at
        while len(self._events("Page.loadEventFired")) == loaded:
            self._browser.events.append(self._browser.read())

    def ask(self, expression: str) -> Any:
        """What a JavaScript expression gives in the page, as JSON."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def looks(self, width: int, height: int, scheme: str = "light") -> None:
        """From now on the window has this size, and the system this colour scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip

    def calls_itself(self, agent: str) -> None:
        """From now on the browser says that it is this (User-Agent)."""
        self._call("Network.setUserAgentOverride", userAgent=agent)

    def press(self, key: str, code: int) -> None:
        """Presses a key; `code` is its number on Windows."""
        for kind in ("keyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code
            )  # fmt: skip

    def point(self, selector: str) -> None:
        """Moves the mouse onto an element."""
        x, y = self.ask(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f" return [b.x + b.width / 2, b.y + b.height / 2] }})({_element(selector)})"
        )
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """Clicks on an element."""
        self.ask(f"{_element(selector)}.click()")

    def fill(self, **fields: str) -> None:
        """Writes into fields, by their names."""
        for name, text in fields.items():
            self.ask(f"{_element(f'[name={name}]')}.value = {json.dumps(text)}")

    def view(self) -> bytes:
        """What the window shows, as a PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def picture(self) -> bytes:
        """The whole page, however high, as a PNG."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        png = self._call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip
        )
        return base64.b64decode(png["data"])

    def close(self) -> None:
        """Closes the page."""
        self._browser.call("Target.closeTarget", targetId=self._target)


def _element(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)})"


def _above(end: int) -> int:
    """The same end of a pipe under a number above 10, closed when a program is started."""
    moved = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 11)
    os.close(end)
    return moved
