#!/usr/bin/env bash
# sipp 3.6.1 (Debian 12): a <recv response="200"> after BYE also takes a 200 whose CSeq says INVITE. A callee that has not
# got the ACK sends its 200 again (RFC 3261 §13.3.1.4); when that comes after BYE was sent and is not the same to the octet,
# for instance because a proxy was restarted meanwhile, the call counts as ended though nobody has answered the BYE.
# Whoever proves by sipp's counts or logs that a BYE was answered has to name the transactions (start_txn, response_txn),
# or to log the CSeq.
#
# Seen: the built-in scenario `uac`, whose BYE is followed by the 200 to INVITE with one more header: a successful call,
# exit code 0.
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
own.settimeout(0.2)
port = own.getsockname()[1]
sipp = subprocess.Popen([sys.argv[1], "-sn", "uac", "-m", "1", "-i", "127.0.0.1", "-d", "100", "-nostdin", "-timeout", "10s", f"127.0.0.1:{port}"],
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "dumb"})
answer, byes = b"", 0
while sipp.poll() is None:
    try:
        data, peer = own.recvfrom(65535)
    except TimeoutError:
        continue
    text = data.decode()
    method = text.split(" ")[0]
    if method == "INVITE":
        lines = [line for line in text.split("\r\n") if re.match(r"(Via|From|To|Call-ID|CSeq):", line)]
        lines = [line + ";tag=b" if line.startswith("To:") else line for line in lines]
        tail = "\r\n".join([*lines, "Contact: <sip:bob@127.0.0.1:9>", "Content-Length: 0", "", ""])
        answer = f"SIP/2.0 200 OK\r\n{tail}".encode()
        own.sendto(answer, peer)
    elif method == "BYE":
        byes += 1
        # No response to it; only the 200 to INVITE again, through another proxy that leaves its name.
        own.sendto(answer.replace(b"Contact:", b"Server: second\r\nContact:"), peer)
print(f"BYEs seen: {byes}, answered: 0; exit code of sipp: {sipp.returncode}")
raise SystemExit(0 if byes > 0 and sipp.returncode == 0 else "this has changed")
PY
