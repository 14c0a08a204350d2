"""The API's HTTP connections, with the limits that a port facing the world needs."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
HEAD_DEADLINE_S = 10.0
"""A connection that has brought no whole request head for so long is closed."""
TAKE_DEADLINE_S = 30.0
"""A reader that takes nothing of its answer for so long is cut off."""
ANSWER_DEADLINE_S = 15
"""At the end, answers under way have so long."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with the limits it lacks: the size of a head, a deadline for it, and one
    for taking an answer. The application limits bodies."""

    _head_bytes = 0
    _since: float | None = None
    _done: object = None
    _full_since: float | None = None

    def pause_writing(self) -> None:
        """The reader takes less than it is sent."""
        self._full_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The reader has taken enough."""
        self._full_since = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, or of several."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self._in_body():
            self._head_bytes = 0
        else:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.close()

    def close_when_late(self, now: float) -> None:
        """Closes the connection when no head has come, or nothing of the answer was taken, for too
        long; called every second."""
        if self._full_since is not None and now - self._full_since > TAKE_DEADLINE_S:
            self.transport.abort()
            return
        if self._in_body() or self._done is not self.cycle or self._since is None:
            self._done, self._since = self.cycle, now
        elif now - self._since > HEAD_DEADLINE_S:
            self.transport.abort()

    def _in_body(self) -> bool:
        """Whether a request is under way: its body, or its answer, is not whole."""
        cycle = self.cycle
        return cycle is not None and (cycle.more_body or not cycle.response_complete)
