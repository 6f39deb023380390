"""A small house and who looks at it, as most files here ask for them; a file that needs another one has its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from gateway.guard import WebSettings
from gateway.web import create_app
from tests.gateway.small_house import SmallHouse, furnish


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SmallHouse]:
    """Furnished."""
    house = SmallHouse(tmp_path)
    furnish(house)
    yield house
    house.close()


@pytest.fixture
async def web(house: SmallHouse) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody of the clinic."""
    transport = httpx.ASGITransport(create_app(house, WebSettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
        yield client


@pytest.fixture
async def telephone(house: SmallHouse) -> AsyncIterator[httpx.AsyncClient]:
    """The patient's, which does not know the token of the house and prefers another language."""
    transport = httpx.ASGITransport(create_app(house, WebSettings(token="secret")))
    at = {"base_url": "http://127.0.0.1", "headers": {"Accept-Language": "de"}}
    async with httpx.AsyncClient(transport=transport, **at) as client:
        yield client
