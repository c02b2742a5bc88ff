"""Middleware that asks for the server's key on every path: vLLM itself asks under /v1 only, but new weights are loaded
elsewhere.

Standard library only: the interpreter that imports it need not have prefloop.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable
from typing import Any

OPEN = ("/health", "/metrics")  # they tell nothing of the model and change nothing

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class EveryPathNeedsTheKey:
    """ASGI middleware: answers 401 to whoever does not send the key."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._wanted = f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN or self._knows(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error": "Unauthorized"}'})

    def _knows(self, scope: dict[str, Any]) -> bool:
        sent = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        return len(sent) == 1 and hmac.compare_digest(sent[0], self._wanted)
