"""How the house does, part by part, each with a sentence that says what to do where there is something to do.

What a part knows of itself is told as it is at the moment of the question. What has to be looked up (a store, a disk)
is asked every few seconds and whenever somebody wants to know; a part that does not answer is itself in trouble, and
keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from alerts.alert import Audience, Text, together
from alerts.channels import ChannelHealth
from alerts.staffing import AHEAD, reached, unmanned
from alerts.team import ROLE_WORDS, Role, Rota
from gateway.health_words import known
from gateway.language import Sentence, listed
from ingest.influx import InfluxFollower
from ingest.links.ble import BleHealth
from ingest.links.broker import BrokerLink
from ingest.links.listener import Gone, Listener
from ingest.links.refusals import Refused
from ingest.links.topics import shown
from ingest.links.uplink import Uplink

if TYPE_CHECKING:
    from gateway.house import House

TICK: Final = timedelta(seconds=15)  # how often the house is felt, and a part that fell is stood up again
STOOD: Final = 2 * TICK  # one that has lasted so long since it fell stands
ANSWER_S: Final = 5.0  # a part that takes longer to say how it does is not well
POST_SILENT: Final = timedelta(minutes=15)  # it tries each minute: only a cut network or a lost power lasts longer
_NAMED: Final = 5  # devices that are named in a sentence


@dataclass(frozen=True, slots=True)
class Fall:
    """A part that should have gone on for ever has ended, when (aware UTC) and because of what."""

    at: datetime
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the house. detail: a sentence, and what to do where something is to be done."""

    ok: bool
    detail: str


Answer: TypeAlias = dict[str, Part]
Question: TypeAlias = Callable[[], Coroutine[Any, Any, Answer]]


class Pulse:
    """The health of a house: what its parts say now, and what was looked up when it was last felt."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._felt: Answer = {}
        self._as_of = house.now()
        self._asked: dict[str, asyncio.Task[Answer]] = {}
        self._turn = asyncio.Lock()
        self._begun = self._done = 0  # rounds of questions

    def state(self) -> dict[str, Any]:
        """The shape of `gateway.view.HouseView.health`."""
        parts = {**dict(_standing(self._house)), **self._felt, **dict(_fallen(self._house))}
        return {
            "status": _word(all(part.ok for part in parts.values())),
            "as_of": self._as_of,
            "parts": {name: {"status": _word(part.ok), "detail": part.detail} for name, part in parts.items()},
        }

    async def feel(self) -> None:
        """Ask what has to be asked. Those who want to know at the same time share one round of questions."""
        wanted = self._begun + 1  # one that has begun already may have asked before what the caller has seen
        async with self._turn:
            if self._done >= wanted:
                return
            self._begun = wanted
            as_of = self._house.now()
            answers = await asyncio.gather(*(self._ask(name, put) for name, put in _questions(self._house)))
            self._felt = {name: part for answer in answers for name, part in answer.items()}
            self._as_of, self._done = as_of, wanted

    async def close(self) -> None:
        """Leave the questions that were never answered."""
        for asked in self._asked.values():
            asked.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def _ask(self, name: str, question: Question) -> Answer:
        # One that still waits for its answer is not put again: each would take a thread from the rest of the house.
        if name not in self._asked:
            self._asked[name] = asyncio.create_task(question())
        asked = self._asked[name]
        await asyncio.wait([asked], timeout=ANSWER_S)
        if not asked.done():
            said = Sentence(
                "It does not answer within {s:g} s; see whether another program holds its file.", s=ANSWER_S
            )
            return {name: Part(ok=False, detail=said)}
        del self._asked[name]
        if error := asked.exception():
            said = Sentence("It cannot be asked: {error}; see to the disk and the log.", error=error)
            return {name: Part(ok=False, detail=said)}
        return asked.result()


def _word(ok: bool) -> str:
    return "ok" if ok else "degraded"


def _questions(house: House) -> Iterator[tuple[str, Question]]:
    """What has to be looked up, by the part that does not answer when there is no answer."""

    async def letters() -> Answer:
        waiting = (await asyncio.to_thread(house.journal.counts))["letters.waiting"]
        said = Sentence("Letters that wait for a person: {n}.", n=waiting)
        return {"letters": Part(ok=True, detail=said if waiting else Sentence("Nothing waits to be looked at."))}

    async def disk() -> Answer:
        await asyncio.to_thread(house.keeper.measure)
        return {"disk": Part(ok=house.keeper.ok, detail=house.keeper.detail())}

    async def channels() -> Answer:
        return {f"channel {channel.name}": _channel(channel) for channel in await house.speaker.health()}

    async def team() -> Answer:
        rota, escalation = await asyncio.to_thread(house.duty.team.rota), house.duty.escalation
        told = reached(rota, escalation.channels(Audience.STAFF))
        return {"team": _team(rota, unmanned(escalation.ladders, told, house.now()))}

    yield "letters", letters
    yield "disk", disk
    if influx := house.influx:
        yield "influxdb", lambda: _influxdb(influx)
    if uplink := house.uplink:
        yield "uplink", lambda: _uplink(uplink)
    yield "channels", channels
    yield "team", team


def _team(rota: Rota, missing: Sequence[Role]) -> Part:
    if not any(one.active for one in rota.staff):
        said = Sentence(
            "No staff are registered: alerts go to the channels of the house alone. The page Team adds them."
        )
        return Part(ok=True, detail=said)
    if missing:
        said = Sentence(
            "Nobody who can be told is on duty within {hours} h as {roles}: enter shifts and contacts on the page "
            "Team.",
            hours=AHEAD // timedelta(hours=1),
            roles=together((ROLE_WORDS[role] for role in missing), Text(en=", ", zh="、")),
        )
        return Part(ok=False, detail=said)
    said = Sentence("Every role that a ladder tells is on duty within a day; the page Team shows when.")
    return Part(ok=True, detail=said)


async def _influxdb(follower: InfluxFollower) -> Answer:
    state = await follower.health()
    said = Sentence("Readings still to be sent: {n}.", n=state.lag)
    if state.older:
        said = Sentence(
            "Readings still to be sent: {n}, of which {older} follow behind the new ones.",
            n=state.lag,
            older=state.older,
        )
    return {"influxdb": Part(ok=state.ok, detail=Sentence("{one} {other}", one=known(state.says), other=said))}


async def _uplink(uplink: Uplink) -> Answer:
    state = await uplink.health()
    return {"uplink": Part(ok=state.ok, detail=known(state.says))}


def _standing(house: House) -> Iterator[tuple[str, Part]]:
    trouble = house.path.patience.trouble
    yield "journal", Part(ok=trouble is None, detail=trouble or Sentence("Readings are kept as they come."))
    trouble = house.ward.patience.trouble or house.ward.trouble
    yield "watch", Part(ok=trouble is None, detail=trouble or Sentence("Every patient is watched."))
    trouble = house.rounds.patience.trouble or house.rounds.trouble
    yield (
        "rounds",
        Part(ok=trouble is None, detail=trouble or Sentence("Every patient's week is reviewed when it is over.")),
    )
    trouble = house.duty.trouble
    yield (
        "escalation",
        Part(ok=trouble is None, detail=trouble or Sentence("People are told as their steps fall due.")),
    )
    if house.heartbeat.url is not None:
        trouble = house.heartbeat.trouble
        yield "heartbeat", Part(ok=trouble is None, detail=trouble or Sentence("The heartbeat is taken."))
    if listener := house.listener:
        open_now = Sentence(
            "Open at port {port}; connections now: {n}.", port=listener.port, n=listener.counts.connections
        )
        if listener.gone:
            gone = Sentence("Gone without a farewell: {devices}.", devices=_gone(listener.gone.values()))
            open_now = Sentence("{one} {other}", one=open_now, other=gone)
        trouble = known(listener.trouble) if listener.trouble else None
        yield "listener", Part(ok=trouble is None, detail=trouble or open_now)
        if listener.check_login:
            yield "logins", _logins(listener.refusals.lasting(house.now()))
        if listener.posts:
            yield "home posts", _home_posts(listener, house.now())
    if (broker := house.broker) is not None:  # a link with nothing in flight is empty, which would count as none
        yield "broker", _broker(broker)
    if house.ble:
        yield from _bluetooth(house.ble.health())


def _fallen(house: House) -> Iterator[tuple[str, Part]]:
    """Parts that stopped a while ago: what they say themselves is of before that."""
    for name, fall in house.fallen.items():
        if house.now() - fall.at < STOOD:
            said = Sentence(
                "It stopped ({because}) and is started again within {s} s; the log says more.",
                because=fall.because,
                s=TICK.seconds,
            )
            yield name, Part(ok=False, detail=said)


def _broker(broker: BrokerLink) -> Part:
    if trouble := broker.trouble:
        return Part(ok=False, detail=known(trouble))
    if broker.warnings:
        told = reduce(
            lambda one, other: Sentence("{one}; it {other}", one=one, other=other), map(known, broker.warnings)
        )
        return Part(ok=False, detail=Sentence("Connected, but the broker {told}.", told=told))
    return Part(ok=True, detail=Sentence("Connected to the broker."))


def _gone(devices: Iterable[Gone]) -> str:
    """The devices that left last, and since when."""
    last = sorted(devices, key=lambda one: one.since, reverse=True)
    return _listed(
        [Sentence("{device} since {moment}", device=one.device, moment=_moment(one.since)) for one in last]
    )


def _logins(refused: Sequence[Refused]) -> Part:
    if not refused:
        return Part(ok=True, detail=Sentence("Nobody keeps being refused."))
    named = _listed(
        [
            Sentence(
                "{name} from {address}, {n} times since {moment}",
                name=shown(one.name),
                address=one.address,
                n=one.count,
                moment=_moment(one.since),
            )
            for one in refused
        ]
    )
    said = Sentence("Refused again and again: {named}; check user name and password there and here.", named=named)
    return Part(ok=False, detail=said)


def _home_posts(listener: Listener, now: datetime) -> Part:
    absent = {post: seen for post, seen in listener.absent_posts().items() if now - seen >= POST_SILENT}
    if not absent:
        said = Sentence("Home posts that are expected: {n}; none is cut off.", n=len(listener.posts))
        return Part(ok=True, detail=said)
    named = _listed(
        [
            Sentence("{post}, last here {moment}", post=post, moment=_moment(seen))
            for post, seen in sorted(absent.items(), key=itemgetter(1))
        ]
    )
    said = Sentence(
        "Cut off: {named}; see to its power and network. It keeps what it hears and sends it when it is back.",
        named=named,
    )
    return Part(ok=False, detail=said)


def _listed(items: Sequence[str]) -> str:
    """The first of them by name, the others by number."""
    named = listed(items[:_NAMED])
    return Sentence("{named}; and {n} more", named=named, n=len(items) - _NAMED) if len(items) > _NAMED else named


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _bluetooth(health: BleHealth) -> Iterator[tuple[str, Part]]:
    reads = Sentence("The adapter works; devices that are read: {n}.", n=len(health.devices))
    if not health.devices:  # then nothing has been looked for
        reads = Sentence(
            "There is no Bluetooth device to read; `homeward pair` adds one, `homeward check` tries the adapter."
        )
    yield "bluetooth", Part(ok=health.adapter is None, detail=known(health.adapter) if health.adapter else reads)
    for device in health.devices:
        if device.error:
            said = Sentence("{fault} (failed {n} times in a row)", fault=known(device.error), n=device.failures)
            if device.failures == 1:
                said = Sentence("{fault} (failed once)", fault=known(device.error))
            yield f"device {device.address}", Part(ok=False, detail=said)


def _channel(channel: ChannelHealth) -> Part:
    if channel.dead:
        error = known(channel.last_error or "")
        said = Sentence("It is dead: {error}. {n} notices wait for it.", error=error, n=channel.waiting)
        if channel.waiting is None:
            said = Sentence("It is dead: {error}. An unknown number of notices wait for it.", error=error)
        return Part(ok=False, detail=said)
    if channel.failures:
        error = known(channel.last_error or "")
        return Part(ok=True, detail=Sentence("The last try failed ({error}); it is tried again.", error=error))
    if channel.last_delivered_at is None:
        return Part(ok=True, detail=Sentence("Nothing had to be said since the start."))
    return Part(ok=True, detail=Sentence("It delivers."))
