"""One client's connection: greeting, then packets, one query at a time.

The event loop reads and writes the socket; the engine's calls, which block, run in a thread that
belongs to this connection, so a long query never keeps another client's greeting or ping waiting.
While a query runs the socket is watched: a Cancel packet or a client that leaves ends the query.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from . import protocol
from .blocks import Block, header_block, read_packet_block, split_blocks
from .columns import UnknownTypeError
from .compression import ChecksumError, read_compressed_block
from .engine import Chunk, Engine, EngineError, Result, Session
from .framing import Buffer, ProtocolError, Steps, string
from .statements import BlockInsert, block_insert, without_format

_T = TypeVar("_T")

_READ_SIZE = 1024 * 1024
_KILL_EVERY = 0.2
"""Seconds between attempts to end a query: one may come before the engine has registered it."""

_CHECKSUM, _NOT_IMPLEMENTED, _LOGICAL_ERROR, _UNEXPECTED_PACKET = 40, 48, 49, 101
_AUTHENTICATION_FAILED, _CANCELLED_BY_CLIENT = 516, 735

log = logging.getLogger(__name__)


class _GoneError(Exception):
    """The client closed its end."""


class ClientConnection:
    """Speaks with one client until it leaves.

    Attributes:
        busy: a query is running.
        stopping: set from outside; the connection ends after the query it is running.
    """

    def __init__(
        self,
        engine: Engine,
        password: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.busy = False
        self.stopping = False
        self._engine = engine
        self._password = password
        self._reader = reader
        self._writer = writer
        self._buffer = Buffer()
        self._out = bytearray()
        self._ahead: asyncio.Task[int] | None = None
        self._thread = ThreadPoolExecutor(1, "session")
        self._session: Session
        self._revision = protocol.REVISION
        self._opened = False

    async def serve(self) -> None:
        """Answer the client's packets; returns when the connection is over and cleaned up."""
        try:
            if await self._greet():
                while not self.stopping:
                    await self._answer(await self._packet())
        except (_GoneError, ConnectionError):
            pass
        except Exception as error:
            await self._refuse(error)
        finally:
            if self._ahead is not None and not self._ahead.cancel():
                with contextlib.suppress(asyncio.CancelledError):
                    self._ahead.exception()  # looked at, or asyncio complains that nobody did
            self._writer.close()
            if self._opened:
                await asyncio.shield(self._call(self._session.close))
            self._thread.shutdown(wait=False)

    def kill(self) -> None:
        """End the query that is running, if one is. Blocks for some milliseconds."""
        if self._opened:
            self._engine.kill(self._session)

    async def _greet(self) -> bool:
        if await self._packet() != protocol.CLIENT_HELLO:
            raise ProtocolError("the first packet is no greeting")
        hello = await self._read(protocol.read_hello(self._buffer))
        right = hmac.compare_digest(string(hello.password), string(self._password))
        if hello.user != "default" or not right:
            message = (
                f"DB::Exception: {hello.user}: Authentication failed: password is incorrect, "
                "or there is no user with such name. (AUTHENTICATION_FAILED)"
            )
            await self._write(protocol.exception(_AUTHENTICATION_FAILED, message))
            return False
        self._revision = hello.revision
        self._session = await self._call(self._engine.session)
        self._opened = True
        if hello.database:
            await self._call(self._session.use, hello.database)
        engine = self._engine
        await self._write(protocol.hello(hello.revision, engine.version, engine.timezone))
        return True

    async def _answer(self, packet: int) -> None:
        if packet == protocol.CLIENT_PING:
            await self._write(protocol.PONG)
        elif packet == protocol.CLIENT_QUERY:
            self.busy = True
            try:
                await self._query()
            finally:
                self.busy = False
        elif packet != protocol.CLIENT_CANCEL:  # that one came too late: there is nothing to end
            raise ProtocolError(f"packet {packet} was not expected")

    async def _query(self) -> None:
        query = await self._read(protocol.read_query(self._buffer, self._revision))
        try:
            while (table := await self._data(query.compressed))[1].columns:
                message = f"DB::Exception: external table {table[0]} (NOT_IMPLEMENTED)"
                raise EngineError(_NOT_IMPLEMENTED, message)
            applied = []
            if query.settings:
                applied = await self._call(self._session.apply, query.settings)
            try:
                if insert := block_insert(query.sql):
                    await self._insert(insert, query.compressed)
                else:
                    sql = without_format(query.sql, self._engine.formats)
                    await self._select(sql, query.compressed)
            finally:
                if applied:
                    await self._call(self._session.restore, applied)
        except EngineError as error:
            log.info("a query failed with code %d", error.code)
            await self._write(protocol.exception(error.code, error.message))

    async def _select(self, sql: str, compressed: bool) -> None:
        """Run any statement but an INSERT of blocks, and send what it returns."""
        rows = blocks = size = 0
        headed = False
        try:
            result, chunks = await self._attended(self._begin, sql)
            try:
                while chunks:
                    for chunk in chunks:
                        for block in _blocks(chunk, split=not headed or not result.streams):
                            if block.columns and not headed:
                                self._send(header_block(block.columns), compressed)
                                headed = True
                            if block.rows:
                                self._send(block, compressed)
                                blocks += 1
                        rows += chunk.rows
                        size += len(chunk.native)
                        self._out += protocol.progress(chunk.rows, len(chunk.native))
                    if result.ended:
                        break
                    await self._flush()
                    if self._is_over():
                        break
                    chunks = await self._attended(result.fetch)
            finally:
                if not result.ended:
                    await self._call(result.cancel)
            if result.streams and not headed and not self._is_over():
                self._send(header_block(await self._call(self._session.columns, sql)), compressed)
        except EngineError:
            # A server ends a query that its client cancelled like one that is complete.
            if not self._is_over():
                raise
        self._out += protocol.profile_info(rows, blocks, size)
        await self._write(protocol.END_OF_STREAM)

    def _begin(self, sql: str) -> tuple[Result, list[Chunk]]:
        """Start a statement and fetch the first of its result: for most, all in one call."""
        result = self._session.run(sql)
        return result, result.fetch()

    async def _insert(self, insert: BlockInsert, compressed: bool) -> None:
        """Take the blocks of an INSERT; they go into the table when all of them are here."""
        columns = await self._call(self._session.sample, insert)
        self._send(header_block(columns), compressed)
        await self._flush()
        rows = size = 0
        with tempfile.NamedTemporaryFile(dir=self._engine.incoming) as file:
            while (block := (await self._data(compressed))[1]).columns:
                if block.rows:
                    file.write(block.body)
                    rows += block.rows
                    size += len(block.body)
            file.flush()
            if rows:
                await self._call(self._session.insert, insert, Path(file.name))
        self._out += protocol.progress(0, 0, rows, size)
        await self._write(protocol.END_OF_STREAM)

    async def _data(self, compressed: bool) -> tuple[str, Block]:
        packet = await self._packet()
        if packet == protocol.CLIENT_CANCEL:
            message = "DB::Exception: The client cancelled (QUERY_WAS_CANCELLED_BY_CLIENT)"
            raise EngineError(_CANCELLED_BY_CLIENT, message)
        if packet != protocol.CLIENT_DATA:
            raise ProtocolError(f"packet {packet} came where data was expected")
        table = await self._read(self._buffer.string())
        read_block = read_compressed_block if compressed else read_packet_block
        return table, await self._read(read_block(self._buffer))

    async def _attended(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Call into the engine; end the query when the client cancels or leaves meanwhile."""
        call = self._call(function, *arguments)
        while not call.done():
            ahead = self._peek()
            either: set[asyncio.Future[Any]] = {call, ahead}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                break
            if self._is_over():
                await asyncio.get_running_loop().run_in_executor(None, self.kill)
                await asyncio.wait({call}, timeout=_KILL_EVERY)
            else:
                await asyncio.wait({call})
        return call.result()

    def _is_over(self) -> bool:
        """Tell whether the client has sent Cancel or has left."""
        ahead = self._peek()
        if not ahead.done():
            return False
        return ahead.exception() is not None or ahead.result() == protocol.CLIENT_CANCEL

    def _peek(self) -> asyncio.Task[int]:
        """Begin to read the next packet's type, if that has not begun yet."""
        if self._ahead is None:
            self._buffer.forget()
            self._ahead = asyncio.create_task(self._read(self._buffer.varint()))
        return self._ahead

    async def _packet(self) -> int:
        packet = await self._peek()
        self._ahead = None
        return packet

    async def _read(self, steps: Steps[_T]) -> _T:
        """Run a reader, feeding it from the socket."""
        while True:
            try:
                next(steps)
            except StopIteration as done:
                result: _T = done.value
                return result
            data = await self._reader.read(_READ_SIZE)
            if not data:
                raise _GoneError
            self._buffer.feed(data)

    def _call(self, function: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._thread, function, *arguments)

    def _send(self, block: Block, compressed: bool) -> None:
        """Add a block to what leaves with the next `_flush`: a small answer is one write."""
        self._out += protocol.data(block, compressed)

    async def _write(self, packet: bytes) -> None:
        self._out += packet
        await self._flush()

    async def _flush(self) -> None:
        out, self._out = self._out, bytearray()
        self._writer.write(out)
        await self._writer.drain()

    async def _refuse(self, error: Exception) -> None:
        """Say why the connection ends here; the bytes that follow cannot be understood."""
        match error:
            case EngineError():
                code, message = error.code, error.message
            case UnknownTypeError():
                code = _NOT_IMPLEMENTED
                message = f"DB::Exception: cannot take columns of type {error} (NOT_IMPLEMENTED)"
            case ChecksumError():
                code, message = _CHECKSUM, f"DB::Exception: {error} (CHECKSUM_DOESNT_MATCH)"
            case ProtocolError():
                code = _UNEXPECTED_PACKET
                message = f"DB::Exception: {error} (UNEXPECTED_PACKET_FROM_CLIENT)"
            case _:
                log.error("a connection failed", exc_info=error)
                code, message = _LOGICAL_ERROR, f"DB::Exception: {error!r} (LOGICAL_ERROR)"
        log.warning("a connection ended with code %d", code)
        with contextlib.suppress(ConnectionError):
            await self._write(protocol.exception(code, message))


def _blocks(chunk: Chunk, split: bool) -> Iterator[Block]:
    """Take a chunk apart; one of a stream is a single block, whose columns are known already."""
    if split:
        with contextlib.suppress(UnknownTypeError):
            yield from list(split_blocks(chunk.native))
            return
    if chunk.native:
        yield Block((), chunk.rows, chunk.native)
