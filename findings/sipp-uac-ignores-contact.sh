#!/usr/bin/env bash
# sipp 3.6.1 (Debian 12): the built-in scenario `uac` sends ACK and BYE to the address it was started with and writes that
# address into their Request-URIs. Contact and Record-Route of the 200 are ignored (RFC 3261 §12.1.2 wants the remote target
# and the route set). Through a record-routing proxy both arrive without Route and name the proxy itself.
#
# Seen: with `Contact: <sip:bob@127.0.0.1:9>` and a Record-Route in the 200, ACK and BYE have the Request-URI
# sip:service@127.0.0.1:PORT of the first hop and no Route header.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
packages="sip-tester=1:3.6.1-1+b2 libgsl27 libgslcblas0 libsctp1"
# shellcheck disable=SC2086
apt-get download -qq $packages >/dev/null 2>&1 || { apt-get update -qq; apt-get download -qq $packages >/dev/null; }
for package in *.deb; do dpkg -x "$package" root; done
libraries=$(find root -name '*.so.*' -printf '%h\n' | sort -u | head -n 1)
export LD_LIBRARY_PATH=$folder/$libraries
python3 - "$(find "$folder" -path '*/bin/sipp' | head -n 1)" <<'PY'
import os, re, socket, subprocess, sys

own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind(("127.0.0.1", 0))
own.settimeout(20)
port = own.getsockname()[1]
sipp = subprocess.Popen([sys.argv[1], "-sn", "uac", "-m", "1", "-i", "127.0.0.1", "-d", "100", "-nostdin", "-timeout", "20s", f"127.0.0.1:{port}"],
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "dumb"})
seen = {}
try:
    while "BYE" not in seen:
        data, peer = own.recvfrom(65535)
        text = data.decode()
        method, uri = text.split(" ")[:2]
        seen[method] = (uri, "\r\nRoute:" in text)
        if method == "ACK":
            continue
        lines = [line for line in text.split("\r\n") if re.match(r"(Via|From|To|Call-ID|CSeq):", line)]
        lines = [line + ";tag=b" if line.startswith("To:") and ";tag=" not in line else line for line in lines]
        extra = ["Contact: <sip:bob@127.0.0.1:9>", f"Record-Route: <sip:127.0.0.1:{port};lr;of=proxy>"] if method == "INVITE" else []
        own.sendto("\r\n".join(["SIP/2.0 200 OK", *lines, *extra, "Content-Length: 0", "", ""]).encode(), peer)
finally:
    sipp.wait(timeout=20)
for method, (uri, has_route) in seen.items():
    print(f"{method} {uri.replace(str(port), 'PORT')}, Route: {has_route}")
want = (f"sip:service@127.0.0.1:{port}", False)
raise SystemExit(0 if seen["ACK"] == want and seen["BYE"] == want else "this has changed")
PY
