"""A crawl in a network of its own, whose name server gives other addresses each time: prints what came of it as JSON.

To be run by root in new network and mount namespaces (`unshare -rmn`): it sets the name server of the system.
"""

from __future__ import annotations

import gzip
import json
import random
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pycurl
from hostile import crawl

from gristmill.crawl import client
from gristmill.recipe import Crawl

PUBLIC, PRIVATE = "93.184.216.34", ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1")
SIX = ("::1", "::ffff:127.0.0.1", "fd00::1", "64:ff9b::7f00:1")
HOSTS, PAGES = 40, 8
A, AAAA = 1, 28


class Names(threading.Thread):
    """A name server (RFC 1035): hosts change their address with each look-up, at random."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.draw, self.given = random.Random(0), Counter[str]()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))

    def addresses(self, name: str, kind: int) -> list[str]:
        """What a name has now: of one kind of host both, of the other one of both."""
        if kind == AAAA:
            return [self.draw.choice(SIX)] if self.draw.random() < 0.2 else []
        private = self.draw.choice(PRIVATE)
        if name.startswith("both"):
            return self.draw.sample([PUBLIC, private], 2)
        return [self.draw.choice([PUBLIC, private])]

    def run(self) -> None:
        """Answer."""
        while True:
            query, client = self.socket.recvfrom(512)
            end = query.index(b"\0", 12) + 5
            name, kind = query[13:end].decode("latin-1"), query[end - 3]  # after the length of its first label
            found = self.addresses(name, kind) if kind in (A, AAAA) else []
            self.given.update("public" if one == PUBLIC else "private" for one in found)
            records = b""
            for one in found:
                data = socket.inet_pton(socket.AF_INET6 if kind == AAAA else socket.AF_INET, one)
                records += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(data)) + data
            head = query[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, len(found), 0, 0)
            self.socket.sendto(head + query[12:end] + records, client)


class Site(BaseHTTPRequestHandler):
    """Pages that link to each other; each answer ends its connection, so that the next request looks the name up."""

    def do_GET(self) -> None:
        """Answer."""
        private = self.connection.getsockname()[0] != PUBLIC
        asked["private" if private else "public"] += 1
        links = "".join(f'<a href="/{number}">x</a>' for number in range(PAGES))
        body = f"{'secret' if private else 'page'} {self.headers['Host']} {self.path} {links}".encode()
        self.send_response(404 if "." in self.path else 200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Six(ThreadingHTTPServer):
    """The same over IPv6."""

    address_family = socket.AF_INET6


asked: Counter[str] = Counter()


def prepare(folder: Path) -> None:
    """Addresses and the name server of this network."""
    for command in ("link set lo up", *(f"addr add {one}/32 dev lo" for one in (PUBLIC, *PRIVATE[1:]))):
        subprocess.run(["ip", *command.split()], check=True)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:5 attempts:5\n")
    (folder / "hosts").write_text("")
    for name in ("resolv.conf", "hosts"):
        subprocess.run(["mount", "--bind", folder / name, Path("/etc") / name], check=True)


def main(folder: Path) -> None:
    """Crawl."""
    prepare(folder)
    names = Names()
    names.start()
    for address in (PUBLIC, *PRIVATE):
        threading.Thread(target=ThreadingHTTPServer((address, 80), Site).serve_forever, daemon=True).start()
    if Path("/proc/net/if_inet6").exists():
        threading.Thread(target=Six(("::1", 80), Site).serve_forever, daemon=True).start()
    start = client.Transfer.start

    def forgetful(transfer: client.Transfer, *arguments: Any) -> None:
        start(transfer, *arguments)
        transfer.curl.setopt(pycurl.DNS_CACHE_TIMEOUT, 0)  # else a minute's

    client.Transfer.start = forgetful  # type: ignore[method-assign, assignment]
    hosts = [f"{kind}{number}.test" for kind in ("one", "both") for number in range(HOSTS // 2)]
    made, rows = crawl(Crawl(seeds=[f"http://{host}/" for host in hosts], delay=0.0, timeout=20), folder / "crawl")
    outcomes = Counter(row["outcome"] for row in rows.values())
    warcs = b"".join(path.read_bytes() for path in (folder / "crawl").glob("*.warc.gz"))
    kept = gzip.decompress(warcs)
    addresses = {line.split()[1].decode() for line in kept.split(b"\r\n") if line.startswith(b"WARC-IP-Address:")}
    print(
        json.dumps(
            {
                "asked": asked,
                "given": names.given,
                "outcomes": outcomes,
                "addresses": sorted(addresses),
                "secrets": kept.count(b"secret "),
                "left": made.counts["urls_left"],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
