"""A receiver of webhooks: Python's own HTTP server, with its own HMAC, JSON and TLS.

    webhook.py PORT FOLDER [tls]

It writes a line of JSON into FOLDER/seen for every request, after it was read and before it is answered, and answers by the
first rule of FOLDER/rules.json that fits:

    {"has": text in the body, "times": how often the rule is used at most, "longer": octets the body has more than,
     "status": 200, "headers": {}, "body": "", "hang": false, "cut": false}

A header "in N" has the date of N seconds later, rounded up. `hang` never answers; `cut` closes the connection without an answer. No rule fits: 204. With FOLDER/key it verifies signatures. With
`tls` it listens at 127.0.0.2 too, wants certificates, and has one for localhost, 127.0.0.1 and ::1 in FOLDER/tls.
"""

import hashlib
import hmac
import http.server
import json
import os
import ssl
import sys
import threading
import time

port, folder = int(sys.argv[1]), sys.argv[2]
lock, used, connections = threading.Lock(), {}, set()


def read(name):
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def verified(headers, body):
    """Whether time and signature are right; None without a key."""
    key = read("key")
    if key is None:
        return None
    stamp = headers.get("X-Tollgate-Timestamp", "")
    want = hmac.new(key.splitlines()[0], stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    is_fresh = stamp.isdigit() and abs(time.time() - int(stamp)) < 300
    return is_fresh and hmac.compare_digest("sha256=" + want, headers.get("X-Tollgate-Signature", ""))


def rule_for(body):
    for number, rule in enumerate(json.loads(read("rules.json") or b"[]")):
        if rule.get("has", "").encode() not in body or len(body) <= rule.get("longer", -1):
            continue
        with lock:
            if used.get(number, 0) >= rule.get("times", 1 << 30):
                continue
            used[number] = used.get(number, 0) + 1
        return rule
    return {"status": 204}


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self):
        self.answer(rule_for(b"HEAD"))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        rule = rule_for(body)
        with lock:
            connections.add(self.client_address)
            events = json.loads(body)
            ids = [event.get("id", "") for event in (events if isinstance(events, list) else [events])]
            seen = {
                "at": time.time(),
                "path": self.path,
                "ids": ids,
                "hash": hashlib.sha256("".join(own + "\n" for own in ids).encode()).hexdigest(),
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "json": events,
                "octets": len(body),
                "verified": verified(self.headers, body),
                "status": 0 if rule.get("hang") or rule.get("cut") else rule.get("status", 200),
                "connections": len(connections),
            }
            with open(os.path.join(folder, "seen"), "a") as file:
                file.write(json.dumps(seen) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self.answer(rule)

    def answer(self, rule):
        if rule.get("hang"):
            threading.Event().wait()
        if rule.get("cut"):
            self.close_connection = True
            return
        body = rule.get("body", "").encode()
        self.send_response(rule.get("status", 200))
        for name, value in rule.get("headers", {}).items():
            # "in 3" is the date in three seconds.
            if value.startswith("in "):
                value = self.date_time_string(time.time() + int(value[3:]) + 1)
            self.send_header(name, value)
        if rule.get("status") != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def server(address):
    own = Server((address, port), Receiver)
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/tls/server.pem", f"{folder}/tls/server.key")
        context.load_verify_locations(f"{folder}/tls/ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        own.socket = context.wrap_socket(own.socket, server_side=True)
    return own


if len(sys.argv) > 3:
    # The certificate does not have this address.
    threading.Thread(target=server("127.0.0.2").serve_forever, daemon=True).start()
server("127.0.0.1").serve_forever()
