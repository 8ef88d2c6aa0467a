-- Tables of an SQL sink with `profile = "openser-1.1"` at SQLite. A field takes a column of its own more, in each table.
-- With fields of legs the unique index is on (record_id, leg), and `leg` SMALLINT NOT NULL DEFAULT 0.

CREATE TABLE IF NOT EXISTS "acc" (
    "id" INTEGER PRIMARY KEY,
    "from_uri" VARCHAR(255),
    "to_uri" VARCHAR(255),
    "sip_method" VARCHAR(16),
    "i_uri" VARCHAR(255),
    "o_uri" VARCHAR(255),
    "sip_from" VARCHAR(255),
    "sip_callid" VARCHAR(255),
    "sip_to" VARCHAR(255),
    "sip_status" VARCHAR(128),
    "totag" VARCHAR(128),
    "fromtag" VARCHAR(128),
    "username" VARCHAR(255),
    "domain" VARCHAR(255),
    "time" DATETIME,
    "record_id" VARCHAR(26)
);
CREATE UNIQUE INDEX IF NOT EXISTS "acc_record" ON "acc" ("record_id");
CREATE INDEX IF NOT EXISTS "acc_callid" ON "acc" ("sip_callid");
CREATE INDEX IF NOT EXISTS "acc_time" ON "acc" ("time");

CREATE TABLE IF NOT EXISTS "missed_calls" (
    "id" INTEGER PRIMARY KEY,
    "from_uri" VARCHAR(255),
    "to_uri" VARCHAR(255),
    "sip_method" VARCHAR(16),
    "i_uri" VARCHAR(255),
    "o_uri" VARCHAR(255),
    "sip_from" VARCHAR(255),
    "sip_callid" VARCHAR(255),
    "sip_to" VARCHAR(255),
    "sip_status" VARCHAR(128),
    "totag" VARCHAR(128),
    "fromtag" VARCHAR(128),
    "username" VARCHAR(255),
    "domain" VARCHAR(255),
    "time" DATETIME,
    "record_id" VARCHAR(26)
);
CREATE UNIQUE INDEX IF NOT EXISTS "missed_calls_record" ON "missed_calls" ("record_id");
CREATE INDEX IF NOT EXISTS "missed_calls_callid" ON "missed_calls" ("sip_callid");
CREATE INDEX IF NOT EXISTS "missed_calls_time" ON "missed_calls" ("time");
