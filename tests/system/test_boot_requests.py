# SPDX-License-Identifier: GPL-2.0-or-later
"""What anybody may send to the boot service: it answers, goes on serving and changes nothing."""

import concurrent.futures
import contextlib
import json
import os
import random
import re
import socket
import time

import pytest
from support import boot, system
from support.boot import MAC, mac
from support.files import MIB


@pytest.fixture
def site(root):
    return boot.serve_one(root)


def test_status_tells_whose_it_is(site):
    status, text = boot.get(site, "/status")
    assert status == 200
    assert json.loads(text)["program"] == "diskgated"
    assert json.loads(text)["pid"] == boot.daemon_of(site)


@pytest.mark.parametrize("spelling", [MAC, "52-54-00-00-00-01", "525400000001", "52:54:00:00:00:01".upper()])
def test_script_boots_the_client_in_any_spelling_of_its_mac(site, spelling):
    text = boot.script(site, spelling)
    target = site.target("pc1")
    assert f"set initiator-iqn {target['iqn']}:initiator\n" in text
    assert f"set username {target['chap_user']}\nset password {target['chap_password']}\n" in text
    assert boot.url_of(text)


HOSTILE_PATHS = [
    "/boot/", "/boot", "/boot/x", "/boot/../../etc/passwd", "/boot/%0areboot", "/boot/%00", "/boot/%24%7Bnet0/mac%7D",
    "/boot/52:54:00:00:00:01/..", "/boot/' OR 1=1 --".replace(" ", "%20"), "/boot/ff:ff:ff:ff:ff:ff", "/boot/01:00:5e:00:00:01",
    "/boot/" + "a" * 5000, "/boot/%c3%a4%ff", "/" + "x" * 200, "//", "/boot//" + MAC, "/boot/%25s%25n%25n",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_hostile_path_is_answered_and_changes_nothing(site, path):
    before = site.catalog_text()
    status, text = boot.get(site, path)
    assert status in (200, 400, 404, 414)
    assert not boot.url_of(text)
    for line in text.splitlines() if text.startswith("#!ipxe") else []:
        assert re.match(r"#!ipxe$|echo|:again$|sleep \d+ \|\|$|chain --replace --autofree /boot/\$\{net[X0]/mac:hexhyp\} \|\| goto again$|exit 1$", line)
    assert site.catalog_text() == before


HOSTILE_BYTES = {
    "nothing": b"",
    "no HTTP": b"\x00\xff\x16\x03\x01" * 50 + b"\r\n\r\n",
    "no version": b"GET /boot/x\r\n\r\n",
    "other method": b"DELETE /boot/52:54:00:00:00:01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "unknown method": b"A" * 300 + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "body": b"POST /boot/52:54:00:00:00:01 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "body of a GET": b"GET /boot/52:54:00:00:00:01 HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
    "bad length": b"GET /status HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "chunks": b"GET /boot/52:54:00:00:00:01 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    "long header": b"GET /status HTTP/1.1\r\nHost: " + b"x" * 100000 + b"\r\n\r\n",
    "many headers": b"GET /status HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(5000)) + b"\r\n",
    "many requests at once": b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" * 200,
}


@pytest.mark.parametrize("data", HOSTILE_BYTES.values(), ids=HOSTILE_BYTES)
def test_hostile_bytes_leave_the_service_up(site, data):
    before = site.catalog_text()
    if data:
        answer = boot.raw(site, data)
        assert b"sanboot" not in answer
    with socket.create_connection(("127.0.0.1", site.boot_port)) as half:
        half.sendall(data[: len(data) // 2])
    assert boot.get(site, "/status")[0] == 200
    assert site.catalog_text() == before


def test_head_is_answered_without_a_body(site):
    assert boot.get(site, "/status", method="HEAD") == (200, "")


def test_other_methods_are_refused_with_a_sentence(site):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        status, text = boot.get(site, f"/boot/{MAC}", method=method)
        assert status == 405
        assert "only GET and HEAD" in text


def test_silent_connections_keep_nobody_out(site):
    """One address has eight places; those who use them for nothing lose them after ten seconds."""
    silent = []
    try:
        for _ in range(30):
            silent.append(socket.create_connection(("127.0.0.1", site.boot_port), timeout=60))
        begin = time.monotonic()
        while True:
            try:
                assert boot.get(site, "/status", timeout=5)[0] == 200
                break
            except OSError:
                assert time.monotonic() < begin + 120
                time.sleep(0.2)
    finally:
        for sock in silent:
            sock.close()


def test_slow_connections_are_ended_whatever_they_send(site):
    """Five addresses take all their places and feed each of them a byte now and then, for ever."""
    head = b"GET /status HTTP/1.1\r\nHost: x\r\n"
    slow = {}
    try:
        for number in range(40):
            sock = socket.create_connection(("127.0.0.1", site.boot_port), timeout=60, source_address=(f"127.0.2.{number % 5 + 1}", 0))
            sock.sendall(head)
            sock.setblocking(False)
            slow[number] = sock
        assert boot.get(site, "/status")[0] == 200  # others have places of their own
        begin = time.monotonic()
        while slow:
            assert time.monotonic() < begin + 120
            for number, sock in list(slow.items()):
                try:
                    sock.send(b"X-A: b\r\n")
                    is_over = sock.recv(1) == b""
                except BlockingIOError:
                    is_over = False
                except OSError:
                    is_over = True
                if is_over:
                    slow.pop(number).close()
            time.sleep(0.3)
    finally:
        for sock in slow.values():
            sock.close()
    assert boot.get(site, "/status", source="127.0.2.1")[0] == 200


def test_no_connection_leaves_anything_behind(site):
    """Random bytes, broken requests, ends in the middle, from many addresses: the daemon has the same descriptors as before, and serves."""
    pid = boot.daemon_of(site)
    boot.script(site, MAC)  # what is opened once is open
    before, rng = len(os.listdir(f"/proc/{pid}/fd")), random.Random(4)
    whole = f"GET /boot/{MAC} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for number in range(250):
        data = bytearray(whole if number % 2 else rng.randbytes(rng.randrange(1, 3000)))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((f"127.0.4.{number % 200 + 1}", 0))
            sock.settimeout(60)
            sock.connect(("127.0.0.1", site.boot_port))
            sock.sendall(data[: rng.randrange(len(data) + 1)])
            if number % 3 == 0:  # RST instead of FIN
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert boot.url_of(boot.script(site, MAC))
    system.wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before, what="the descriptors to be closed")
    assert boot.daemon_of(site) == pid


@pytest.mark.parametrize("what", ["reject", "ask"])
def test_flood_of_unknown_macs_stops_nobody(site, what):
    """The table of those who wait is bounded by a unit test; here the service has to stay up for those that it knows."""
    site.ok("set", "clients.unknown", what)

    def knock(number):
        try:
            return boot.script(site, mac(number), source=f"127.0.3.{number % 50 + 1}")
        except OSError:  # more than eight connections at once from one address
            return ""

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        flood = [pool.submit(knock, number) for number in range(1300)]
        time.sleep(0.3)
        for _ in range(3):
            system.wait_until(lambda: knock_known(site), what="the script of a client within a flood")
        assert any(f.result() for f in flood)
    assert boot.script(site, MAC)
    assert len(site.json("client", "pending")["pending"]) <= 1024
    assert os.path.getsize(site.path / "run" / "diskgated.log") < MIB


def knock_known(site):
    try:
        return boot.url_of(boot.script(site, MAC)) is not None
    except OSError:
        return False
