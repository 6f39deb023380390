"""How the journal's file is laid out, and how a file of an earlier layout becomes one of today's.

An upgrade is one transaction: a crash in it leaves the file as it was. `ingest.rows` says what the columns hold.
"""

from __future__ import annotations

import sqlite3
from typing import Final

FORMAT: Final = 3

_SUPERSEDED: Final = """
CREATE TABLE superseded(                    -- what a device said before its newest revision
    series INTEGER NOT NULL, taken_us INTEGER NOT NULL, device INTEGER NOT NULL, n INTEGER NOT NULL,
    rev INTEGER NOT NULL, -- here, for the integrity check of SQLite 3.40 misreads a key that is not in front
    v0 REAL, v1 REAL, v2 REAL, v3 REAL, unit TEXT NOT NULL, s0 REAL, s1 REAL, s2 REAL, s3 REAL,
    basis TEXT NOT NULL, offset_us INTEGER, claim_us INTEGER, claim_zone_s INTEGER, sequence INTEGER, flags TEXT,
    context TEXT, received_us INTEGER NOT NULL, raw BLOB,
    PRIMARY KEY(series, taken_us, device, n, rev)) WITHOUT ROWID;
"""
_AHEAD: Final = """
CREATE TABLE ahead(                         -- what a follower has beyond its cursor: after, and up to, these numbers
    follower TEXT NOT NULL, after INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY(follower, after)) WITHOUT ROWID;
"""
_DECODED: Final = (
    "SELECT 'decoded', sum(CASE name WHEN 'parts' THEN n ELSE -n END) FROM counters "
    "WHERE name IN ('parts', 'undecodable') HAVING count(*) > 0"
)
_REJECTED: Final = "CREATE INDEX letters_rejected ON letters(link) WHERE state='waiting' AND reason='rejected';"
_SCHEMA: Final = f"""
CREATE TABLE devices(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_sequence INTEGER,
                     last_received_us INTEGER);
CREATE TABLE series(id INTEGER PRIMARY KEY, patient TEXT NOT NULL, vital TEXT NOT NULL, UNIQUE(patient, vital));
CREATE TABLE readings(
    series INTEGER NOT NULL, taken_us INTEGER NOT NULL, device INTEGER NOT NULL,
    n INTEGER NOT NULL,                     -- 0; counts up where one device took several at the same moment
    v0 REAL, v1 REAL, v2 REAL, v3 REAL,     -- canonical units
    unit TEXT NOT NULL, s0 REAL, s1 REAL, s2 REAL, s3 REAL,  -- as sent; all NULL where the unit is canonical
    basis TEXT NOT NULL, offset_us INTEGER,
    claim_us INTEGER, claim_zone_s INTEGER, -- the device's own time: wall clock as if UTC, and its zone if it has one
    sequence INTEGER, flags TEXT, context TEXT, received_us INTEGER NOT NULL, raw BLOB,
    rev INTEGER NOT NULL DEFAULT 1,         -- 2, 3, ... where the device said another value later
    PRIMARY KEY(series, taken_us, device, n)) WITHOUT ROWID;
CREATE TABLE arrivals(seq INTEGER PRIMARY KEY AUTOINCREMENT, series INTEGER NOT NULL, taken_us INTEGER NOT NULL,
                      device INTEGER NOT NULL, n INTEGER NOT NULL, rev INTEGER NOT NULL DEFAULT 1);
CREATE TABLE claims(device INTEGER NOT NULL, vital TEXT NOT NULL, sequence INTEGER NOT NULL,
                    claim_us INTEGER NOT NULL, claim_zone_s INTEGER NOT NULL,
                    series INTEGER NOT NULL, taken_us INTEGER NOT NULL, n INTEGER NOT NULL,
                    PRIMARY KEY(device, vital, sequence, claim_us, claim_zone_s)) WITHOUT ROWID;
CREATE TABLE letters(id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, reason TEXT NOT NULL,
                     because TEXT NOT NULL, device TEXT NOT NULL, parts TEXT NOT NULL, received_us INTEGER NOT NULL,
                     link TEXT NOT NULL, channel TEXT NOT NULL, data BLOB NOT NULL, companion BLOB, session TEXT,
                     fault TEXT, digest BLOB NOT NULL,
                     -- numbers of the letters in which what is left of this one waits, as JSON
                     followed_by TEXT);
CREATE UNIQUE INDEX letters_once ON letters(digest) WHERE state = 'waiting';
CREATE INDEX letters_by_device ON letters(state, device);
CREATE TABLE cursors(follower TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counters(name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
{_SUPERSEDED}
{_AHEAD}
{_REJECTED}
"""
# Until format 3 nobody counted what came again while it waited: it is what is missing in the account of the letters.
_UNTOLD: Final = """
UPDATE counters SET name='rejected.influxdb' WHERE name='rejected.influx';
INSERT INTO counters SELECT 'aside.untold',
    (SELECT coalesce(sum(n), 0) FROM counters WHERE name GLOB 'refused.*' OR name='undecodable')
    - (SELECT coalesce(sum(n), 0) FROM counters WHERE name GLOB 'readmitted.*' OR name GLOB 'aside.*')
    - (SELECT coalesce(sum(json_array_length(parts)), 0) FROM letters
       WHERE reason<>'rejected' AND state IN ('waiting', 'discarded'));
"""
# "influx refused arrival 17 for good ..."
_REFUSED_SEQ: Final = "CAST(substr(letters.because, length('influx refused arrival ') + 1) AS INTEGER)"
_REFUSED: Final = (
    "FROM arrivals a JOIN readings r ON r.series=a.series AND r.taken_us=a.taken_us AND r.device=a.device AND r.n=a.n"
)
_UPGRADES: Final = {
    1: f"""
ALTER TABLE readings ADD COLUMN rev INTEGER NOT NULL DEFAULT 1;
ALTER TABLE arrivals ADD COLUMN rev INTEGER NOT NULL DEFAULT 1;
INSERT INTO counters {_DECODED};
{_SUPERSEDED}
{_AHEAD}
""",
    # InfluxDB's letters get the name of their device and the arrival of their reading.
    2: f"""
ALTER TABLE letters ADD COLUMN followed_by TEXT;
{_REJECTED}
UPDATE letters SET link='influxdb',
    device=coalesce((SELECT d.name {_REFUSED} JOIN devices d ON d.id=r.device WHERE a.seq={_REFUSED_SEQ}), device),
    received_us=coalesce((SELECT r.received_us {_REFUSED} WHERE a.seq={_REFUSED_SEQ}), received_us)
    WHERE reason='rejected' AND link='influx';
{_UNTOLD}
""",
}

# What an upgrade would make of a file of that format, for who may not write: temporary names hide those of the file.
_SEEN: Final = {
    1: f"""
CREATE TEMP VIEW readings AS SELECT *, 1 AS rev FROM main.readings;
CREATE TEMP VIEW arrivals AS SELECT *, 1 AS rev FROM main.arrivals;
CREATE TEMP TABLE counters AS SELECT name, n FROM main.counters;
INSERT INTO counters {_DECODED};
{_SUPERSEDED.replace("TABLE", "TEMP TABLE")}
{_AHEAD.replace("TABLE", "TEMP TABLE")}
""",
    2: f"""
CREATE TEMP VIEW letters AS SELECT *, NULL AS followed_by FROM main.letters;
CREATE TEMP TABLE IF NOT EXISTS counters AS SELECT name, n FROM main.counters;
{_UNTOLD}
""",
}


def see(db: sqlite3.Connection) -> int:
    """Look at a file of an earlier layout as at one of today's, without changing it; the format that it has.

    0 for a file without a layout.
    """
    found = _format(db)
    for step in range(found or FORMAT, FORMAT):
        _run(db, _SEEN[step])
    return found


def prepare(db: sqlite3.Connection) -> int:
    """Lay the file out, or upgrade it; the format it has then, which is not FORMAT when a newer Homeward wrote it."""
    found = _format(db)
    if found >= FORMAT:
        return found
    db.execute("BEGIN IMMEDIATE")
    try:
        # Asked again: another process may have done it meanwhile.
        if (found := _format(db)) == 0:
            _run(db, _SCHEMA)
        else:
            for step in range(found, FORMAT):
                _run(db, _UPGRADES[step])
        db.execute(f"PRAGMA user_version={FORMAT}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    return FORMAT


def _format(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _run(db: sqlite3.Connection, script: str) -> None:
    """As executescript does, which would commit first."""
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)
