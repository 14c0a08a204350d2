"""The API's HTTP connections, with the limits that a port facing the world needs."""

from __future__ import annotations

from mailwake.http_server import Connection

MAX_HEAD_BYTES = 64 * 1024
TAKE_DEADLINE_TICKS = 30
"""A reader that takes nothing of its answer in so many seconds is cut off."""
ANSWER_DEADLINE_S = 15
"""At the end, answers under way have so long."""


class Protocol(Connection):
    """A connection whose heads have a limit of size, and readers a deadline for taking an answer.
    The application limits bodies."""

    _head_bytes = 0
    _full_ticks: int | None = None

    def pause_writing(self) -> None:
        """The reader takes less than it is sent."""
        self._full_ticks = 0
        super().pause_writing()

    def resume_writing(self) -> None:
        """The reader has taken enough."""
        self._full_ticks = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, or of several."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self.is_under_way:
            self._head_bytes = 0
        else:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.close()

    def tick(self) -> None:
        """Closes the connection also when nothing of the answer was taken for too long."""
        if self._full_ticks is not None:
            self._full_ticks += 1
            if self._full_ticks > TAKE_DEADLINE_TICKS:
                self.transport.abort()
                return
        super().tick()

    @property
    def is_under_way(self) -> bool:
        """Whether a request's body, or its answer, is not whole yet."""
        cycle = self.cycle
        return cycle is not None and (cycle.more_body or not cycle.response_complete)
