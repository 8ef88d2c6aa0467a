#!/usr/bin/env bash
# python-diameter 0.9.0 (PyPI): a Time AVP (RFC 6733 §4.3.1) past 2036-02-07 06:28:15 UTC goes out 3 600 s too late,
# with the system's time zone set to UTC. Reading it back by the same library gives the instant that was set, so a test
# that encodes and decodes with it sees nothing; Event-Timestamp of an accounting record is an hour off for all others.
# Up to that second the octets are right.
#
# Seen: the offset is 0 s on 2026-11-28 and 3 600 s from 2036-02-07 06:28:16 on; decoded again, both are as set.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-diameter==0.9.0
TZ=UTC "$folder/venv/bin/python" - <<'PY'
import datetime
from diameter.message.avp import Avp
from diameter.message.constants import AVP_EVENT_TIMESTAMP

start = datetime.datetime(1900, 1, 1)
seen = {}
for text in ("2026-11-28T00:00:00", "2036-02-07T06:28:16", "2040-01-01T00:00:00"):
    instant = datetime.datetime.fromisoformat(text)
    avp = Avp.new(AVP_EVENT_TIMESTAMP)
    avp.value = instant
    sent = int.from_bytes(avp.payload, "big")
    right = int((instant - start).total_seconds()) % 2**32
    again = Avp.from_bytes(avp.as_bytes()).value
    print(f"{text}: sent 0x{sent:08x}, RFC 6733 wants 0x{right:08x}, off by {sent - right} s, read back as {again}")
    seen[text] = (sent - right, again == instant)
want = {
    "2026-11-28T00:00:00": (0, True),
    "2036-02-07T06:28:16": (3600, True),
    "2040-01-01T00:00:00": (3600, True),
}
raise SystemExit(0 if seen == want else f"this has changed: {seen}")
PY
