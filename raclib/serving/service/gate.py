"""What is looked at before a request is read: who sends it, how long it is, how long it takes."""

import asyncio
import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raclib.serving.service.bearer import Token
from raclib.serving.service.config import LimitsConfig

HEALTH = "/v1/health"


class Gate:
    """ASGI middleware that refuses what may not pass; one line of JSON each time.

    Args:
        app: What is behind it.
        limits: Bytes and seconds of a request.
        token: That requests bring, but for the health; None where anybody may come.
    """

    def __init__(self, app: ASGIApp, limits: LimitsConfig, token: Token | None) -> None:
        self.app, self.limits, self.token = app, limits, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        if self._is_stranger(_path(scope), headers):
            again = [(b"www-authenticate", b"Bearer"), (b"www-authenticate", b"Basic")]
            await refuse(send, 401, "the token is missing or wrong", again)
        elif int(headers.get("content-length", b"0") or 0) > self.limits.bytes:
            await refuse(send, 413, _too_long(self.limits.bytes))
        else:
            await self._pass(scope, receive, send)

    def _is_stranger(self, path: str, headers: dict[str, bytes]) -> bool:
        if self.token is None or path == HEALTH:
            return False
        return not self.token.is_in(headers.get("authorization", b"").decode("latin-1"))

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send)
        try:
            async with asyncio.timeout(self.limits.seconds):
                await self.app(scope, _Counted(receive, self.limits.bytes), answer)
        except TimeoutError:
            if not answer.is_begun:
                message = f"not done within {self.limits.seconds:g} s; send less, or again later"
                await refuse(send, 504, message)


class _Counted:
    """Receives a body and counts it."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self.receive, self.limit, self.left = receive, limit, limit

    async def __call__(self) -> Message:
        message = await self.receive()
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            raise HTTPException(413, _too_long(self.limit))
        return message


def _path(scope: Scope) -> str:
    return scope["path"].removeprefix(scope.get("root_path", ""))


def _too_long(limit: int) -> str:
    return f"a body may have {limit:,} bytes; send less at a time"


class _Answer:
    """Sends an answer and knows whether it has begun."""

    def __init__(self, send: Send) -> None:
        self.send, self.is_begun = send, False

    async def __call__(self, message: Message) -> None:
        self.is_begun = True
        await self.send(message)


async def refuse(
    send: Send, status: int, message: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Sends an answer of one line."""
    body = json.dumps({"detail": message}).encode()
    said: list[Any] = [(b"content-type", b"application/json"), *(headers or [])]
    said.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": said})
    await send({"type": "http.response.body", "body": body})
