-- A journal of format 1, dumped from a file that Homeward 0.1.0 wrote before readings had revisions.
BEGIN TRANSACTION;
CREATE TABLE arrivals(seq INTEGER PRIMARY KEY AUTOINCREMENT, series INTEGER NOT NULL, taken_us INTEGER NOT NULL,
                      device INTEGER NOT NULL, n INTEGER NOT NULL);
INSERT INTO "arrivals" VALUES(1,1,1772438400000000,1,0);
INSERT INTO "arrivals" VALUES(2,1,1772438700000000,1,0);
INSERT INTO "arrivals" VALUES(3,1,1772438700000000,1,1);
INSERT INTO "arrivals" VALUES(4,2,1772438400000000,2,0);
CREATE TABLE claims(device INTEGER NOT NULL, vital TEXT NOT NULL, sequence INTEGER NOT NULL,
                    claim_us INTEGER NOT NULL, claim_zone_s INTEGER NOT NULL,
                    series INTEGER NOT NULL, taken_us INTEGER NOT NULL, n INTEGER NOT NULL,
                    PRIMARY KEY(device, vital, sequence, claim_us, claim_zone_s)) WITHOUT ROWID;
INSERT INTO "claims" VALUES(2,'glucose',9,1772481600000000,-4611686018427387904,2,1772438400000000,0);
CREATE TABLE counters(name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "counters" VALUES('admitted',4);
INSERT INTO "counters" VALUES('admitted.listener',4);
INSERT INTO "counters" VALUES('duplicate',1);
INSERT INTO "counters" VALUES('packets.listener',5);
INSERT INTO "counters" VALUES('parts',8);
INSERT INTO "counters" VALUES('refused.conflict',1);
INSERT INTO "counters" VALUES('refused.unassigned',1);
INSERT INTO "counters" VALUES('rejected.influx',1);
INSERT INTO "counters" VALUES('undecodable',1);
CREATE TABLE cursors(follower TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "cursors" VALUES('influx http://x o/b',2);
CREATE TABLE devices(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_sequence INTEGER,
                     last_received_us INTEGER);
INSERT INTO "devices" VALUES(1,'cgm-1',7,1772438400000000);
INSERT INTO "devices" VALUES(2,'AA:BB',9,1772438400000000);
INSERT INTO "devices" VALUES(3,'cgm-9',NULL,NULL);
CREATE TABLE letters(id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, reason TEXT NOT NULL,
                     because TEXT NOT NULL, device TEXT NOT NULL, parts TEXT NOT NULL, received_us INTEGER NOT NULL,
                     link TEXT NOT NULL, channel TEXT NOT NULL, data BLOB NOT NULL, companion BLOB, session TEXT,
                     fault TEXT, digest BLOB NOT NULL);
INSERT INTO "letters" VALUES(1,'waiting','conflict','the device sent record of 2026-03-02 08:00:00Z again with another value: 101 mg/dL instead of 100 mg/dL; the first one stands','cgm-1','[0]',1772438400000000,'listener','json',X'7B2276657273696F6E223A312C2274797065223A2263676D222C22676C75636F7365223A3130317D',NULL,NULL,NULL,X'BCA78B7C91DFCF35DC9E8200D93F8AA44111453AF178DFE1B29DC092118DC1FAA62C875327C3044F93D42A27706ACDC15EAB3ED31DF3D986DBE6145201158AC2');
INSERT INTO "letters" VALUES(2,'waiting','unassigned','device cgm-9 is not assigned to a patient; pair it, and what it sent is admitted','cgm-9','[0]',1772438400000000,'listener','json',X'5B312C325D',NULL,NULL,NULL,X'25C5432F247199DFE26F0FC758D3320006B326105598F5A75AECE54E7C962FA0C2B26DC4BB55D592D27FCBD655583AF546B4E7E91C0E48739E6E40BEDA0F530F');
INSERT INTO "letters" VALUES(3,'waiting','invalid','no such unit (at offset 17)','cgm-9','[1]',1772438400000000,'listener','json',X'5B312C325D',NULL,NULL,NULL,X'2CDC31317A8B0DCA2E54A7401AB8EE491AEBAEABF3744277745B7B9FD2A8C3D3972CACC9C30D82B28C1C2127F7239FB4880F0A81CCE803184E91AC458468A764');
INSERT INTO "letters" VALUES(4,'waiting','rejected','influx refused arrival 1 for good with status 422: field type conflict','influx','[0]',0,'influx','line',X'63676D5F676C75636F736520676C75636F73653D31692031',NULL,NULL,NULL,X'956311FF9AA89704F3834F9592773912A3FC92801C6770F75E13B3E5F788AFC1572130AE759400ACC511A9B82DEB7E17B4786DE39754A1C75CB48E88DA5553FB');
CREATE TABLE readings(
    series INTEGER NOT NULL, taken_us INTEGER NOT NULL, device INTEGER NOT NULL,
    n INTEGER NOT NULL,                     -- 0; counts up where one device took several at the same moment
    v0 REAL, v1 REAL, v2 REAL, v3 REAL,     -- canonical units
    unit TEXT NOT NULL, s0 REAL, s1 REAL, s2 REAL, s3 REAL,  -- as sent; all NULL where the unit is canonical
    basis TEXT NOT NULL, offset_us INTEGER,
    claim_us INTEGER, claim_zone_s INTEGER, -- the device's own time: wall clock as if UTC, and its zone if it has one
    sequence INTEGER, flags TEXT, context TEXT, received_us INTEGER NOT NULL, raw BLOB,
    PRIMARY KEY(series, taken_us, device, n)) WITHOUT ROWID;
INSERT INTO "readings" VALUES(1,1772438400000000,1,0,100.0,NULL,NULL,NULL,'mg/dL',NULL,NULL,NULL,NULL,'device',NULL,1772438400000000,0,NULL,NULL,NULL,1772438403000000,NULL);
INSERT INTO "readings" VALUES(1,1772438700000000,1,0,105.5,NULL,NULL,NULL,'mg/dL',NULL,NULL,NULL,NULL,'device',NULL,1772438700000000,0,NULL,NULL,NULL,1772438703000000,X'01FF');
INSERT INTO "readings" VALUES(1,1772438700000000,1,1,106.0,NULL,NULL,NULL,'mg/dL',NULL,NULL,NULL,NULL,'device',NULL,1772438700000000,0,7,NULL,NULL,1772438703000000,NULL);
INSERT INTO "readings" VALUES(2,1772438400000000,2,0,60.0,NULL,NULL,NULL,'mg/dL',NULL,NULL,NULL,NULL,'corrected',14400000000,1772481600000000,NULL,9,'battery-low',NULL,1772438403000000,NULL);
CREATE TABLE series(id INTEGER PRIMARY KEY, patient TEXT NOT NULL, vital TEXT NOT NULL, UNIQUE(patient, vital));
INSERT INTO "series" VALUES(1,'anna','cgm_glucose');
INSERT INTO "series" VALUES(2,'bo','glucose');
CREATE UNIQUE INDEX letters_once ON letters(digest) WHERE state = 'waiting';
CREATE INDEX letters_by_device ON letters(state, device);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('arrivals',4);
INSERT INTO "sqlite_sequence" VALUES('letters',4);
COMMIT;
PRAGMA user_version=1;
