"""The helper process that plans, as the server sees it: started when it is first asked, one question at a time."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

from bakehouse.serve.errors import ServeError
from bakehouse.serve.work.messages import encode, receive

_SECONDS = 180.0
_STOP_SECONDS = 5.0


class Planner:
    """Asks the helper process. If it ends or takes too long, it is started again for the next question."""

    def __init__(self, folder: Path, *, seconds: float = _SECONDS) -> None:
        self._folder, self._seconds = folder, seconds
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def ask(self, do: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Return an answer of `runs.planner`.

        Raises:
            ServeError: what was asked cannot be planned (400), or the process failed (500, 503).
        """
        async with self._turn:
            try:
                answer = await asyncio.wait_for(self._ask(do, asked), self._seconds)
            except TimeoutError:
                await self.stop()
                raise ServeError(
                    503, "too_slow", f"the plan took more than {self._seconds:.0f} seconds", retry_after=60.0
                ) from None
            except asyncio.CancelledError:
                await self.stop()  # its answer would be taken for that of the next question
                raise
        if error := answer.get("error"):
            status = 400 if error["kind"] == "usage" else 500
            code = "invalid_request" if error["kind"] == "usage" else "failed"
            problems = error.get("problems", ())
            raise ServeError(status, code, error["message"], hint=error["hint"], problems=problems)
        result: dict[str, Any] = answer["result"]
        return result

    async def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _ask(self, do: str, asked: dict[str, Any]) -> dict[str, Any]:
        if self._process is None or self._process.returncode is not None:
            self._process = await self._spawn()
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the process was started with pipes")
        try:
            process.stdin.write(encode({"do": do, "asked": asked}))
            await process.stdin.drain()
            message = await receive(process.stdout)
        except ConnectionError:
            message = None
        if message is None:
            await self.stop()
            raise ServeError(
                503, "planner_lost", "the process that plans has ended", hint="send it again", retry_after=5.0
            )
        return message.values

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._folder.mkdir(parents=True, exist_ok=True)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bakehouse.serve.runs.planner"),
            cwd=self._folder,  # no relative name of a request is a file of the server
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
            start_new_session=True,
        )
