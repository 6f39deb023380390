"""The bulletin over HTTP: a response that is told what a subscription hears, for as long as somebody listens.

Starlette's StreamingResponse takes three times as long for a frame, which counts when a thousand pages are told at
once; and FastAPI's server-sent events would encode each event again for each client.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.bulletin import Subscription


class EventStream(Response):
    """A response of server-sent events (text/event-stream)."""

    media_type = "text/event-stream"

    def __init__(self, subscription: AbstractContextManager[Subscription]) -> None:
        self._subscription = subscription
        self.status_code = 200
        self.background = None
        self.init_headers({"X-Accel-Buffering": "no"})

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Tell until the bulletin closes or the client goes."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with self._subscription as told:
            leaving = asyncio.create_task(_end_with_client(receive, told))
            try:
                await send({"type": "http.response.body", "body": b"retry: 2000\n\n", "more_body": True})
                async for frame in told:
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
            finally:
                leaving.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _end_with_client(receive: Receive, told: Subscription) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    told.end()
