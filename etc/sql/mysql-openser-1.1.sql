-- Tables of an SQL sink with `profile = "openser-1.1"` at MariaDB or MySQL. A field takes a column of its own more, in each table.
-- With fields of legs the unique index is on (record_id, leg), and `leg` SMALLINT NOT NULL DEFAULT 0.

CREATE TABLE IF NOT EXISTS `acc` (
    `id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    `from_uri` VARCHAR(255) CHARACTER SET utf8mb4,
    `to_uri` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_method` VARCHAR(16) CHARACTER SET utf8mb4,
    `i_uri` VARCHAR(255) CHARACTER SET utf8mb4,
    `o_uri` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_from` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_callid` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_to` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_status` VARCHAR(128) CHARACTER SET utf8mb4,
    `totag` VARCHAR(128) CHARACTER SET utf8mb4,
    `fromtag` VARCHAR(128) CHARACTER SET utf8mb4,
    `username` VARCHAR(255) CHARACTER SET utf8mb4,
    `domain` VARCHAR(255) CHARACTER SET utf8mb4,
    `time` DATETIME,
    `record_id` CHAR(26) CHARACTER SET ascii COLLATE ascii_bin,
    UNIQUE KEY `acc_record` (`record_id`),
    KEY `acc_callid` (`sip_callid`),
    KEY `acc_time` (`time`)
);

CREATE TABLE IF NOT EXISTS `missed_calls` (
    `id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    `from_uri` VARCHAR(255) CHARACTER SET utf8mb4,
    `to_uri` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_method` VARCHAR(16) CHARACTER SET utf8mb4,
    `i_uri` VARCHAR(255) CHARACTER SET utf8mb4,
    `o_uri` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_from` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_callid` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_to` VARCHAR(255) CHARACTER SET utf8mb4,
    `sip_status` VARCHAR(128) CHARACTER SET utf8mb4,
    `totag` VARCHAR(128) CHARACTER SET utf8mb4,
    `fromtag` VARCHAR(128) CHARACTER SET utf8mb4,
    `username` VARCHAR(255) CHARACTER SET utf8mb4,
    `domain` VARCHAR(255) CHARACTER SET utf8mb4,
    `time` DATETIME,
    `record_id` CHAR(26) CHARACTER SET ascii COLLATE ascii_bin,
    UNIQUE KEY `missed_calls_record` (`record_id`),
    KEY `missed_calls_callid` (`sip_callid`),
    KEY `missed_calls_time` (`time`)
);
