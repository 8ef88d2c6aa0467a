-- Tables of an SQL sink with `profile = "own"` at SQLite. A field takes a column of its own more, in each table.
-- With fields of legs the unique index is on (record_id, leg), and `leg` SMALLINT NOT NULL DEFAULT 0.

CREATE TABLE IF NOT EXISTS "acc" (
    "id" INTEGER PRIMARY KEY,
    "method" VARCHAR(16),
    "from_tag" VARCHAR(128),
    "to_tag" VARCHAR(128),
    "callid" VARCHAR(255),
    "sip_code" VARCHAR(3),
    "sip_reason" VARCHAR(128),
    "time" DATETIME(3),
    "kind" VARCHAR(32),
    "created" DATETIME(3),
    "answered" DATETIME(3),
    "acknowledged" DATETIME(3),
    "ended" DATETIME(3),
    "setup_ms" BIGINT,
    "duration_ms" BIGINT,
    "ended_by" VARCHAR(32),
    "cause" VARCHAR(32),
    "session" VARCHAR(32),
    "record_id" VARCHAR(26),
    "changed" VARCHAR(255)
);
CREATE UNIQUE INDEX IF NOT EXISTS "acc_record" ON "acc" ("record_id");
CREATE INDEX IF NOT EXISTS "acc_callid" ON "acc" ("callid");
CREATE INDEX IF NOT EXISTS "acc_time" ON "acc" ("time");

CREATE TABLE IF NOT EXISTS "missed_calls" (
    "id" INTEGER PRIMARY KEY,
    "method" VARCHAR(16),
    "from_tag" VARCHAR(128),
    "to_tag" VARCHAR(128),
    "callid" VARCHAR(255),
    "sip_code" VARCHAR(3),
    "sip_reason" VARCHAR(128),
    "time" DATETIME(3),
    "kind" VARCHAR(32),
    "created" DATETIME(3),
    "answered" DATETIME(3),
    "acknowledged" DATETIME(3),
    "ended" DATETIME(3),
    "setup_ms" BIGINT,
    "duration_ms" BIGINT,
    "ended_by" VARCHAR(32),
    "cause" VARCHAR(32),
    "session" VARCHAR(32),
    "record_id" VARCHAR(26),
    "changed" VARCHAR(255)
);
CREATE UNIQUE INDEX IF NOT EXISTS "missed_calls_record" ON "missed_calls" ("record_id");
CREATE INDEX IF NOT EXISTS "missed_calls_callid" ON "missed_calls" ("callid");
CREATE INDEX IF NOT EXISTS "missed_calls_time" ON "missed_calls" ("time");
