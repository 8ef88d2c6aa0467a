-- Table of calls that were not answered and of single events, for the queries in failed.conf. PostgreSQL 9.5 and newer.
CREATE TABLE IF NOT EXISTS radacct_failed (
	id bigserial PRIMARY KEY,
	record_id text UNIQUE,
	repeats integer NOT NULL DEFAULT 0,
	eventtime timestamp with time zone,
	kind text NOT NULL DEFAULT '',
	method text NOT NULL DEFAULT '',
	code integer,
	reason text NOT NULL DEFAULT '',
	cause text NOT NULL DEFAULT '',
	callid text NOT NULL DEFAULT '',
	acctsessionid text NOT NULL DEFAULT '',
	username text NOT NULL DEFAULT '',
	callingstationid text NOT NULL DEFAULT '',
	calledstationid text NOT NULL DEFAULT '',
	nasipaddress inet,
	nasidentifier text NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS radacct_failed_eventtime ON radacct_failed (eventtime);
CREATE INDEX IF NOT EXISTS radacct_failed_username ON radacct_failed (username);
