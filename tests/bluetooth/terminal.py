"""A person at the terminal of `homeward pair`, who answers by what the question says."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.config import BOOK, Config
from gateway.house import JOURNAL
from gateway.house import Radio as HouseRadio
from gateway.language import Language
from gateway.pair import Wishes, pair
from gateway.people import Patient, People
from gateway.schema import open_database
from gateway.terminal import Nobody, Terminal
from tests.bluetooth.radio import SLOWER, Radio

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
ANNA = Patient(id="anna", name="Anna Berg", zone="Europe/Berlin")
WANG = Patient(id="wang", name="王芳", zone="Asia/Shanghai")


class Scripted(Terminal):
    """answers: by a part of the question; one that is no text is called. `said` keeps everything that was shown."""

    def __init__(self, **answers: str | Callable[[], str]) -> None:
        super().__init__()
        self._answers = answers
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    async def ask(self, question: str) -> str:
        self.said.append(question)
        for part, answer in self._answers.items():
            if part.replace("_", " ") in question:
                await asyncio.sleep(0)
                return answer if isinstance(answer, str) else answer()
        raise Nobody

    @property
    def last(self) -> str:
        return self.said[-1]


def config(folder: Path, **sections: Any) -> Config:
    return Config.model_validate({"data": folder / "data", "bluetooth": {}, **sections})


def house_radio(radio: Radio) -> HouseRadio:
    return HouseRadio(offer=radio.offer, scanner_kwargs=radio.scanner_kwargs, client_kwargs=radio.client_kwargs)


def people(folder: Path) -> People:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / JOURNAL).touch()
    return People(open_database(f"sqlite:///{folder / 'data' / BOOK}"))


async def walk(
    folder: Path, radio: Radio, terminal: Terminal, language: str = "en", seconds: float = 1.0, **wishes: Any
) -> int:
    told = Wishes(seconds=seconds * SLOWER, **wishes)
    async with asyncio.timeout(60.0 * SLOWER):
        return await pair(config(folder), told, house_radio(radio), terminal, Language(language), lambda: NOW)
