"""A critical low at 02:10 and all that follows, told in full at two clinics; and the same whatever goes wrong.

What everybody is told stands word for word in `said/`. Ids are left out there, and the ends of signed links.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.team import Absence, Contact, Practitioner, Role
from tests.scenarios.steps import Clinic, Scene, scene, shift
from tests.scenarios.story import BERLIN, SHANGHAI, STORY

_SAID = Path(__file__).parent / "said"


def said(name: str) -> str:
    return (_SAID / f"{name}.txt").read_text(encoding="utf-8")


def assert_nothing_was_told_twice(there: Scene) -> None:
    times = Counter((each.way, each.to, each.id) for each in there.told.heard)
    assert set(times.values()) == {1}, times


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> str:
    """Of the hub's database; an SQLite file is where the hub looks for it."""
    return _sqlite(tmp_path) if database_url.startswith("sqlite") else database_url


def _sqlite(tmp_path: Path) -> str:
    (tmp_path / "hub-0").mkdir(mode=0o700)
    return f"sqlite:///{tmp_path / 'hub-0' / 'hub.db'}"


@pytest.mark.parametrize(("clinic", "words"), [(SHANGHAI, "shanghai"), (BERLIN, "berlin")], ids=["zh", "en"])
async def test_from_the_low_to_the_task(clinic: Clinic, words: str, url: str, tmp_path: Path) -> None:
    async with scene(clinic, url, tmp_path) as there:
        for step in STORY:
            await step(there)
    assert there.transcript() == said(words)
    assert_nothing_was_told_twice(there)


_GAPS = {step.__name__: {number} for number, step in enumerate(STORY[:-1])}


# Each by itself: what one start mends, a gap before it may have hidden. On PostgreSQL it costs some 10 s a gap.
@pytest.mark.parametrize("gaps", _GAPS.values(), ids=_GAPS)
async def test_a_restart_between_two_steps_changes_nothing(gaps: set[int], url: str, tmp_path: Path) -> None:
    await _with_restarts(gaps, url, tmp_path)


async def test_a_restart_between_all_steps_changes_nothing(url: str, tmp_path: Path) -> None:
    await _with_restarts(set(range(len(STORY))), url, tmp_path)


async def _with_restarts(gaps: set[int], url: str, tmp_path: Path) -> None:
    """gaps: after which steps, by their number."""
    async with scene(SHANGHAI, url, tmp_path) as there:
        for number, step in enumerate(STORY):
            await step(there)
            if number in gaps:
                await there.stop()
                await there.start()
    assert there.transcript() == said("shanghai")
    assert_nothing_was_told_twice(there)


@pytest.mark.parametrize(("way", "to"), [("sms", "+8613800000017"), ("mail", "wang@ward.example"), ("app", "li")])
async def test_killed_while_sending_it_tells_again_with_the_same_id(
    way: str, to: str, url: str, tmp_path: Path
) -> None:
    async with scene(SHANGHAI, url, tmp_path) as there:
        await there.goes_on_to(-1, by=5)
        there.told.mute.add(way)
        await there.goes_on_until_told(to)
        await there.kill()
        killed_at = there.now
        there.told.mute.clear()
        await there.start()
        for step in STORY:
            await step(there)
    assert there.transcript() == said("shanghai"), "each once by its id, in the words of a night without a kill"
    copies = [(each.id, each.words) for each in there.heard(to) if each.came == killed_at]
    assert 2 in Counter(copies).values(), "the same, with the same id"


async def test_where_the_first_channel_is_dead_the_next_one_tells(url: str, tmp_path: Path) -> None:
    """Everybody's preferred contact is by a channel whose server refuses connections."""
    dead = [Contact(channel="pager", address="1")]
    clinic = replace(
        SHANGHAI,
        detour=1,
        contacts=(*dead, *SHANGHAI.contacts),
        staff=[replace(one, contacts=(*dead, *one.contacts)) for one in SHANGHAI.staff],
    )
    async with scene(clinic, url, tmp_path) as there:
        for step in STORY:
            await step(there)
    assert there.transcript() == said("first_channel_dead")


# The night of the last Sunday of March is an hour short, that of October an hour long. The doctors change at an hour
# that is left out, and at one that comes twice: the next doctor is there from its first time on.
@pytest.mark.parametrize(
    ("low", "change", "words"),
    [
        (datetime(2026, 3, 29, 0, 50, tzinfo=UTC), "02:00", "clock_put_forward"),
        (datetime(2026, 10, 25, 0, 50, tzinfo=UTC), "02:58", "clock_put_back"),
    ],
)
async def test_across_a_change_of_the_clock(low: datetime, change: str, words: str, url: str, tmp_path: Path) -> None:
    async with scene(_at_a_change_of_the_clock(low, change), url, tmp_path) as there:
        for step in STORY:
            await step(there)
    assert there.transcript() == said(words)
    assert_nothing_was_told_twice(there)


def _at_a_change_of_the_clock(low: datetime, change: str) -> Clinic:
    nurse, doctor, *others = BERLIN.staff
    before = _colleague(doctor, "Max Blum", "blum")
    nights, _ = BERLIN.shifts
    doctors = (
        shift(Role.DOCTOR, before.id, "Europe/Berlin", "14:00", change),
        shift(Role.DOCTOR, doctor.id, "Europe/Berlin", change, "14:00"),
    )
    return replace(BERLIN, low=low, staff=(nurse, doctor, before, *others), shifts=(nights, *doctors))


def _colleague(one: Practitioner, name: str, id_: str) -> Practitioner:
    """Somebody like another, with addresses of his or her own."""
    contacts = [replace(each, address=each.address.replace(one.id, id_)) for each in one.contacts]
    return replace(one, id=id_, name=name, contacts=tuple(contacts))


@pytest.mark.parametrize(("role", "name", "id_"), [(Role.NURSE, "赵敏", "zhao"), (Role.DOCTOR, "孙明", "sun")])
async def test_for_who_is_absent_the_substitute_is_told(
    role: Role, name: str, id_: str, url: str, tmp_path: Path
) -> None:
    absent = SHANGHAI.one(role)
    away = Absence(
        practitioner=absent.id,
        start=SHANGHAI.low - timedelta(days=1),
        end=SHANGHAI.low + timedelta(days=1),
        substitute=id_,
    )
    staff = (_colleague(absent, name, id_), *SHANGHAI.staff)
    async with scene(replace(SHANGHAI, staff=staff, absences=(away,)), url, tmp_path) as there:
        for step in STORY:
            await step(there)
    own = said("shanghai").replace(absent.name, name)
    for contact in absent.contacts:
        own = own.replace(f"to {contact.address}\n", f"to {contact.address.replace(absent.id, id_)}\n")
    assert there.transcript() == _in_order(own)
    assert_nothing_was_told_twice(there)


def _in_order(told: str) -> str:
    """As a transcript has it: in the order of the minutes, and only within one by who was told."""
    found = []
    for each in told.removeprefix("== ").split("\n== "):
        minute, way, _, to = each.splitlines()[0].split()
        found.append((minute, to, way, each))
    return "== " + "\n== ".join(each for *_, each in sorted(found))


async def test_two_hubs_on_one_postgresql_tell_everybody_once(postgresql_url: str, tmp_path: Path) -> None:
    """Both hear the sensor, by the clinic's broker; the pages are opened at the second."""
    async with scene(SHANGHAI, postgresql_url, tmp_path, hubs=2) as there:
        for step in STORY:
            await step(there)
    assert there.transcript() == said("shanghai")
    assert_nothing_was_told_twice(there)


async def test_when_one_of_two_hubs_is_killed_the_other_goes_on(postgresql_url: str, tmp_path: Path) -> None:
    async with scene(SHANGHAI, postgresql_url, tmp_path, hubs=2) as there:
        for number, step in enumerate(STORY):
            await step(there)
            if number == 0:
                await there.hubs[0].kill()
    assert there.transcript() == said("shanghai")
    assert_nothing_was_told_twice(there)
