-- hub.db as Homeward made it before it numbered its schemas: one patient, one open alert, one try.
BEGIN TRANSACTION;
CREATE TABLE alert_facts (
	seq INTEGER NOT NULL, 
	alert VARCHAR(24) NOT NULL, 
	what VARCHAR(32) NOT NULL, 
	at_us BIGINT NOT NULL, 
	"by" VARCHAR(200), 
	because_en TEXT, 
	because_zh TEXT, 
	note TEXT NOT NULL, 
	PRIMARY KEY (seq), 
	FOREIGN KEY(alert) REFERENCES alerts (id)
);
INSERT INTO "alert_facts" VALUES(1,'a-8eb55da6ef0fec99','opened',1772388000000000,NULL,'low-event-2 raise.','low-event-2 raise。','');
CREATE TABLE alerts (
	id VARCHAR(24) NOT NULL, 
	patient VARCHAR(64) NOT NULL, 
	problem VARCHAR(64) NOT NULL, 
	priority INTEGER NOT NULL, 
	because_en TEXT NOT NULL, 
	because_zh TEXT NOT NULL, 
	evidence JSON NOT NULL, 
	raising JSON NOT NULL, 
	present BOOLEAN NOT NULL, 
	since_us BIGINT NOT NULL, 
	opened_at_us BIGINT NOT NULL, 
	updated_at_us BIGINT NOT NULL, 
	notified_at_us BIGINT, 
	acknowledged_at_us BIGINT, 
	acknowledged_by VARCHAR(200), 
	acknowledged_note TEXT, 
	condition_gone_at_us BIGINT, 
	closed_at_us BIGINT, 
	closed_by VARCHAR(200), 
	outcome VARCHAR(32), 
	closing_note TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "alerts" VALUES('a-8eb55da6ef0fec99','p-1','glucose-low',2,'low-event-2 raise.','low-event-2 raise。','["r-1"]','["low-event-2"]',1,1772388000000000,1772388000000000,1772388000000000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE care (
	patient VARCHAR(64) NOT NULL, 
	population VARCHAR(16), 
	programme VARCHAR(200), 
	PRIMARY KEY (patient), 
	FOREIGN KEY(patient) REFERENCES patients (id)
);
CREATE TABLE deliveries (
	notice VARCHAR(24) NOT NULL, 
	channel VARCHAR(64) NOT NULL, 
	tries INTEGER NOT NULL, 
	due_us BIGINT, 
	delivered_at_us BIGINT, 
	PRIMARY KEY (notice, channel), 
	FOREIGN KEY(notice) REFERENCES notices (id)
);
INSERT INTO "deliveries" VALUES('n-be56625417e2f6d4','log',0,1772388000000000,NULL);
INSERT INTO "deliveries" VALUES('n-be56625417e2f6d4','desk',1,1772388120000000,NULL);
CREATE TABLE delivery_tries (
	seq INTEGER NOT NULL, 
	notice VARCHAR(24) NOT NULL, 
	channel VARCHAR(64) NOT NULL, 
	at_us BIGINT NOT NULL, 
	error TEXT, 
	PRIMARY KEY (seq), 
	FOREIGN KEY(notice) REFERENCES notices (id)
);
INSERT INTO "delivery_tries" VALUES(1,'n-be56625417e2f6d4','desk',1772388060000000,'away');
CREATE TABLE device_states (
	device VARCHAR(64) NOT NULL, 
	last_seen_us BIGINT, 
	bond VARCHAR(8), 
	failures INTEGER NOT NULL, 
	fault VARCHAR, 
	manufacturer VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	serial VARCHAR NOT NULL, 
	firmware VARCHAR NOT NULL, 
	battery_pct INTEGER, 
	clock_offset_us BIGINT, 
	clock_set BOOLEAN, 
	quirk VARCHAR, 
	session_ends_us BIGINT, 
	sensor VARCHAR, 
	battery_low_us BIGINT, 
	battery_flag_us BIGINT, 
	PRIMARY KEY (device)
);
INSERT INTO "device_states" VALUES('cgm-1',NULL,NULL,2,NULL,'','','','',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE devices (
	id VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	link VARCHAR(8) NOT NULL, 
	model VARCHAR(200) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "devices" VALUES('cgm-1','cgm','mqtt','');
CREATE TABLE former_limit_ends (
	former INTEGER NOT NULL, 
	"by" VARCHAR(200) NOT NULL, 
	PRIMARY KEY (former), 
	FOREIGN KEY(former) REFERENCES former_limits (id)
);
CREATE TABLE former_limits (
	id INTEGER NOT NULL, 
	patient VARCHAR(64) NOT NULL, 
	rule VARCHAR(64) NOT NULL, 
	parameter VARCHAR(64) NOT NULL, 
	entry JSON NOT NULL, 
	ended_us BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(patient) REFERENCES patients (id)
);
CREATE TABLE notices (
	id VARCHAR(24) NOT NULL, 
	alert VARCHAR(24), 
	patient VARCHAR(64) NOT NULL, 
	audience VARCHAR(16) NOT NULL, 
	priority INTEGER NOT NULL, 
	subject_en TEXT NOT NULL, 
	subject_zh TEXT NOT NULL, 
	body_en TEXT NOT NULL, 
	body_zh TEXT NOT NULL, 
	written_at_us BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(alert) REFERENCES alerts (id)
);
INSERT INTO "notices" VALUES('n-be56625417e2f6d4','a-8eb55da6ef0fec99','p-1','staff',2,'Medium priority: Very low glucose','中优先级：血糖严重偏低','low-event-2 raise.','low-event-2 raise。',1772388000000000);
CREATE TABLE patients (
	id VARCHAR(64) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	zone VARCHAR(64) NOT NULL, 
	language VARCHAR(8) NOT NULL, 
	glucose_unit VARCHAR(8) NOT NULL, 
	pseudonym VARCHAR(32) NOT NULL, 
	limits JSON NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (pseudonym)
);
INSERT INTO "patients" VALUES('p-1','王波','Asia/Shanghai','zh_CN','mmol/L','0123456789abcdef','{}');
CREATE TABLE plan_ends (
	"plan" INTEGER NOT NULL, 
	"by" VARCHAR(200) NOT NULL, 
	PRIMARY KEY ("plan"), 
	FOREIGN KEY("plan") REFERENCES plans (id)
);
CREATE TABLE plans (
	id INTEGER NOT NULL, 
	patient VARCHAR(64) NOT NULL, 
	vital VARCHAR(32) NOT NULL, 
	times INTEGER NOT NULL, 
	days INTEGER NOT NULL, 
	first DATE NOT NULL, 
	last DATE, 
	author VARCHAR(200) NOT NULL, 
	entered_us BIGINT NOT NULL, 
	ended_us BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(patient) REFERENCES patients (id)
);
INSERT INTO "plans" VALUES(1,'p-1','glucose',2,7,'2026-03-01',NULL,'Dr Li',1772438400000000,NULL);
CREATE TABLE retirements (
	device VARCHAR(64) NOT NULL, 
	retired_us BIGINT NOT NULL, 
	PRIMARY KEY (device), 
	FOREIGN KEY(device) REFERENCES devices (id)
);
CREATE TABLE reviews (
	patient VARCHAR(64) NOT NULL, 
	monday VARCHAR(10) NOT NULL, 
	made_at_us BIGINT NOT NULL, 
	raised INTEGER NOT NULL, 
	said JSON NOT NULL, 
	PRIMARY KEY (patient, monday)
);
CREATE TABLE reviews_done (
	patient VARCHAR(64) NOT NULL, 
	monday VARCHAR(10) NOT NULL, 
	rule VARCHAR(64) NOT NULL, 
	"by" VARCHAR(200) NOT NULL, 
	at_us BIGINT NOT NULL, 
	PRIMARY KEY (patient, monday, rule)
);
CREATE TABLE standings (
	patient VARCHAR(64) NOT NULL, 
	day VARCHAR(10) NOT NULL, 
	made_at_us BIGINT NOT NULL, 
	figures JSON NOT NULL, 
	PRIMARY KEY (patient)
);
CREATE TABLE watch_cursor (
	name VARCHAR(16) NOT NULL, 
	seq BIGINT, 
	PRIMARY KEY (name)
);
INSERT INTO "watch_cursor" VALUES('watch',7);
CREATE TABLE wearing_corrections (
	id INTEGER NOT NULL, 
	wearing INTEGER NOT NULL, 
	at_us BIGINT NOT NULL, 
	"by" VARCHAR(200) NOT NULL, 
	note VARCHAR(2000) NOT NULL, 
	patient_before VARCHAR(64) NOT NULL, 
	since_before_us BIGINT, 
	patient VARCHAR(64) NOT NULL, 
	since_us BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(wearing) REFERENCES wearings (id), 
	FOREIGN KEY(patient_before) REFERENCES patients (id), 
	FOREIGN KEY(patient) REFERENCES patients (id)
);
CREATE TABLE wearings (
	id INTEGER NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	patient VARCHAR(64) NOT NULL, 
	since_us BIGINT, 
	until_us BIGINT, 
	slot INTEGER NOT NULL, 
	assigned_us BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(device) REFERENCES devices (id), 
	FOREIGN KEY(patient) REFERENCES patients (id)
);
INSERT INTO "wearings" VALUES(1,'cgm-1','p-1',NULL,NULL,0,1772438400000000);
CREATE INDEX ix_former_limits_patient ON former_limits (patient);
CREATE INDEX ix_plans_patient ON plans (patient);
CREATE INDEX ix_wearings_patient ON wearings (patient);
CREATE INDEX ix_wearings_device ON wearings (device);
CREATE INDEX ix_wearing_corrections_wearing ON wearing_corrections (wearing);
CREATE INDEX reviews_by_week ON reviews (monday, raised);
CREATE UNIQUE INDEX alerts_standing ON alerts (patient, problem) WHERE closed_at_us IS NULL OR present = 1;
CREATE INDEX alerts_by_patient ON alerts (patient, opened_at_us);
CREATE INDEX alerts_by_time ON alerts (opened_at_us, id);
CREATE INDEX ix_alert_facts_alert ON alert_facts (alert);
CREATE INDEX ix_notices_alert ON notices (alert);
CREATE INDEX notices_of_patient ON notices (patient, written_at_us);
CREATE INDEX deliveries_due ON deliveries (channel, due_us);
CREATE INDEX ix_delivery_tries_notice ON delivery_tries (notice);
COMMIT;
