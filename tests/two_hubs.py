"""One of two hubs that speak from one database: `python -m tests.two_hubs URL HUB FILE`, told to begin by a line.

Its desk writes the id of each notice that it is handed as a line of the file; both hubs write the same file.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from alerts.alert import Audience
from alerts.book import Book
from alerts.channels import Message, Speaker
from gateway.schema import open_database


class Desk:
    name = "desk"
    audiences = frozenset({Audience.STAFF})
    trusted = True
    reaches_people = True
    replies = True

    def __init__(self, file: Path, hub: str) -> None:
        self._file = file
        self._hub = hub

    async def deliver(self, message: Message) -> None:
        with self._file.open("a") as lines:
            lines.write(f"{message.notice.id} {self._hub}\n")


async def speak(url: str, hub: str, file: Path) -> None:
    book = Book(open_database(url), routes={}, hub=hub)
    # Of the clock of the test that wrote the notices; it stands still, so no claim runs out.
    speaker = Speaker(book, [Desk(file, hub)], base_url="", clock=lambda: datetime(2027, 1, 1, tzinfo=UTC))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    while book.undelivered():
        await speaker.speak()


if __name__ == "__main__":
    asyncio.run(speak(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
