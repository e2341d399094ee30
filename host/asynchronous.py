"""The client for asyncio.

async with AsyncClient("native") as agent:
    answer = await agent.parse("turn on the kitchen light")
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from host.boards import Board
from host.client import Answer, Client, Info, Reset, SelfTest, Settings, Stats
from host.errors import NoAnswerError

_T = TypeVar("_T")


class AsyncClient:
    """``Client``, awaited: the same arguments, results and errors, and one thread for the line.

    Tasks may share it: requests take turns, in the order in which they were made. One that is cancelled while it
    waits for its turn is not sent; one that is on the line already ends there, and its answer is thrown away.
    """

    def __init__(
        self,
        board: str | Board = "native",
        settings: Settings | None = None,
        *,
        bundle: str | Path | None = None,
        flash: str | Path | None = None,
    ) -> None:
        """As ``Client``, but the board is opened by ``async with``."""
        self._open = partial(Client, board, settings, bundle=bundle, flash=flash)
        self._thread: ThreadPoolExecutor
        self._opened: Client | None = None

    @property
    def _client(self) -> Client:
        if self._opened is None:
            raise NoAnswerError("the board is not open; use the client within async with")
        return self._opened

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, "utterbit")
        opening = self._thread.submit(self._open)
        try:
            self._opened = await asyncio.shield(asyncio.wrap_future(opening))
        except BaseException:
            opening.add_done_callback(self._let_go)
            self._thread.shutdown(wait=False)
            raise
        return self

    @staticmethod
    def _let_go(opened: Future[Client]) -> None:
        if opened.exception() is None:
            opened.result().close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closing = self._thread.submit(self._client.close)  # in any case, also if it is not waited for
        self._opened = None
        self._thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    @property
    def resets(self) -> Sequence[Reset]:
        """The board's resets so far."""
        return self._client.resets

    async def parse(self, prompt: str) -> Answer:
        """``Client.parse``."""
        return await self._in_turn(self._client.parse, prompt)

    async def info(self) -> Info:
        """``Client.info``."""
        return await self._in_turn(self._client.info)

    async def selftest(self) -> SelfTest:
        """``Client.selftest``."""
        return await self._in_turn(self._client.selftest)

    async def stats(self) -> Stats:
        """``Client.stats``."""
        return await self._in_turn(self._client.stats)

    async def raw(self, command: str, patience: int = 1) -> Mapping[str, Any]:
        """``Client.raw``."""
        return await self._in_turn(self._client.raw, command, patience)

    async def reset(self) -> None:
        """``Client.reset``: at once, whatever the board is doing."""
        await asyncio.to_thread(self._client.reset)

    async def _in_turn(self, call: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
