# Table of calls that were not answered and of single events, for the queries in failed.conf. MySQL 5.7 or MariaDB 10.2
# and newer. The columns are wide, for FreeRADIUS writes many characters as three (`+` as `=2B`), and a value that does
# not fit makes strict mode refuse the row: the record would never be acknowledged.
CREATE TABLE IF NOT EXISTS radacct_failed (
	id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
	record_id varchar(64) CHARACTER SET ascii COLLATE ascii_bin NULL UNIQUE,
	repeats int unsigned NOT NULL DEFAULT 0,
	eventtime datetime NULL,
	kind varchar(32) NOT NULL DEFAULT '',
	method varchar(96) NOT NULL DEFAULT '',
	code int unsigned NULL,
	reason text NOT NULL,
	cause varchar(96) NOT NULL DEFAULT '',
	callid text NOT NULL,
	acctsessionid varchar(768) NOT NULL DEFAULT '',
	username varchar(768) NOT NULL DEFAULT '',
	callingstationid varchar(768) NOT NULL DEFAULT '',
	calledstationid varchar(768) NOT NULL DEFAULT '',
	nasipaddress varchar(45) NOT NULL DEFAULT '',
	nasidentifier varchar(768) NOT NULL DEFAULT '',
	KEY eventtime (eventtime),
	KEY username (username(64))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
