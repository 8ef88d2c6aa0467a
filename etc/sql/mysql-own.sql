-- Tables of an SQL sink with `profile = "own"` at MariaDB or MySQL. A field takes a column of its own more, in each table.
-- With fields of legs the unique index is on (record_id, leg), and `leg` SMALLINT NOT NULL DEFAULT 0.

CREATE TABLE IF NOT EXISTS `acc` (
    `id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    `method` VARCHAR(16) CHARACTER SET utf8mb4,
    `from_tag` VARCHAR(128) CHARACTER SET utf8mb4,
    `to_tag` VARCHAR(128) CHARACTER SET utf8mb4,
    `callid` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_code` VARCHAR(3) CHARACTER SET utf8mb4,
    `sip_reason` VARCHAR(128) CHARACTER SET utf8mb4,
    `time` DATETIME(3),
    `kind` VARCHAR(32) CHARACTER SET utf8mb4,
    `created` DATETIME(3),
    `answered` DATETIME(3),
    `acknowledged` DATETIME(3),
    `ended` DATETIME(3),
    `setup_ms` BIGINT,
    `duration_ms` BIGINT,
    `ended_by` VARCHAR(32) CHARACTER SET utf8mb4,
    `cause` VARCHAR(32) CHARACTER SET utf8mb4,
    `session` VARCHAR(32) CHARACTER SET utf8mb4,
    `record_id` CHAR(26) CHARACTER SET ascii COLLATE ascii_bin,
    `changed` VARCHAR(255) CHARACTER SET utf8mb4,
    UNIQUE KEY `acc_record` (`record_id`),
    KEY `acc_callid` (`callid`),
    KEY `acc_time` (`time`)
);

CREATE TABLE IF NOT EXISTS `missed_calls` (
    `id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    `method` VARCHAR(16) CHARACTER SET utf8mb4,
    `from_tag` VARCHAR(128) CHARACTER SET utf8mb4,
    `to_tag` VARCHAR(128) CHARACTER SET utf8mb4,
    `callid` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_code` VARCHAR(3) CHARACTER SET utf8mb4,
    `sip_reason` VARCHAR(128) CHARACTER SET utf8mb4,
    `time` DATETIME(3),
    `kind` VARCHAR(32) CHARACTER SET utf8mb4,
    `created` DATETIME(3),
    `answered` DATETIME(3),
    `acknowledged` DATETIME(3),
    `ended` DATETIME(3),
    `setup_ms` BIGINT,
    `duration_ms` BIGINT,
    `ended_by` VARCHAR(32) CHARACTER SET utf8mb4,
    `cause` VARCHAR(32) CHARACTER SET utf8mb4,
    `session` VARCHAR(32) CHARACTER SET utf8mb4,
    `record_id` CHAR(26) CHARACTER SET ascii COLLATE ascii_bin,
    `changed` VARCHAR(255) CHARACTER SET utf8mb4,
    UNIQUE KEY `missed_calls_record` (`record_id`),
    KEY `missed_calls_callid` (`callid`),
    KEY `missed_calls_time` (`time`)
);
