"""An accounting server made of pyrad.

server.py PORT FILE

Listens on 127.0.0.1:PORT, answers each Accounting-Request but those of the user `silent`, and appends their
Acct-Session-Id to FILE. As pyrad comes, it answers no Status-Server.
"""
import io
import os
import sys

from pyrad import dictionary, packet, server

# What the test needs, in the form that pyrad reads.
DICTIONARY = """
ATTRIBUTE User-Name 1 string
ATTRIBUTE NAS-IP-Address 4 ipaddr
ATTRIBUTE Service-Type 6 integer
ATTRIBUTE Vendor-Specific 26 octets
ATTRIBUTE NAS-Identifier 32 string
ATTRIBUTE Acct-Status-Type 40 integer
ATTRIBUTE Acct-Delay-Time 41 integer
ATTRIBUTE Acct-Session-Id 44 string
ATTRIBUTE Acct-Session-Time 46 integer
ATTRIBUTE Acct-Terminate-Cause 49 integer
ATTRIBUTE Event-Timestamp 55 date
ATTRIBUTE NAS-Port-Type 61 integer
"""


class Accounting(server.Server):
    """Takes accounting and nothing else."""

    def HandleAcctPacket(self, pkt):
        if pkt.get("User-Name", [""])[0] == "silent":
            return
        with open(sys.argv[2], "a", encoding="utf-8") as stored:
            stored.write(pkt["Acct-Session-Id"][0] + "\n")
            stored.flush()
            os.fsync(stored.fileno())
        self.SendReplyPacket(pkt.fd, self.CreateReplyPacket(pkt))


def main():
    words = dictionary.Dictionary(io.StringIO(DICTIONARY))
    accounting = Accounting(addresses=["127.0.0.1"], acctport=int(sys.argv[1]), dict=words, auth_enabled=False)
    accounting.hosts["127.0.0.1"] = server.RemoteHost("127.0.0.1", b"testing123", "gateway")
    print("ready", flush=True)
    accounting.Run()


main()
