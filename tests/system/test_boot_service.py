# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot service: what PCs are told, what their requests do to overlays and clients, and what it takes without falling over."""

import concurrent.futures
import contextlib
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest
from support import boot, system
from support.files import MIB, make_image

MAC = "52:54:00:00:00:01"
SIZE = 64 * MIB


@pytest.fixture
def site(make_root):
    root = make_root()
    make_image(root.files / "base.raw", SIZE)
    root.ok("image", "add", "win", root.files / "base.raw")
    root.ok("client", "add", "pc1", "--mac", MAC, "--image", "win")
    root.ok("up")
    return root


def mac(number):
    return f"52:54:00:01:{number >> 8:02x}:{number & 255:02x}"


def overlay_id(site, client="pc1", slot=0):
    return next(r["overlay_id"] for r in site.json("overlay", "show", client)["overlays"] if r["slot"] == slot)


def boots(site):
    return site.json("log", "--boots")["boots"]


# --- requests ---


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
        assert re.match(r"#!ipxe$|echo|:again$|sleep \d+ \|\|$|chain --replace --autofree /boot/\$\{netX/mac:hexhyp\} \|\| goto again$|exit 1$", line)
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
            silent.append(socket.create_connection(("127.0.0.1", site.boot_port), timeout=5))
        begin = time.monotonic()
        while True:
            try:
                assert boot.get(site, "/status", timeout=5)[0] == 200
                break
            except OSError:
                assert time.monotonic() < begin + 40
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
            sock = socket.create_connection(("127.0.0.1", site.boot_port), timeout=5, source_address=(f"127.0.2.{number % 5 + 1}", 0))
            sock.sendall(head)
            sock.setblocking(False)
            slow[number] = sock
        assert boot.get(site, "/status")[0] == 200  # others have places of their own
        begin = time.monotonic()
        while slow:
            assert time.monotonic() < begin + 60
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
            sock.settimeout(5)
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


# --- unknown PCs ---


def test_reject_says_the_command_to_run(site):
    text = boot.sentence(boot.script(site, mac(5)))
    assert f"diskgate client add NAME --mac {mac(5)} --image IMAGE" in text
    assert site.json("client", "pending")["pending"] == []


def test_ask_lists_the_pc_until_it_is_approved(site):
    site.ok("set", "clients.unknown", "ask")
    for number in (5, 6, 5):
        text = boot.sentence(boot.script(site, mac(number)))
        assert str(number - 4) in text.split("\n")
    rows = site.json("client", "pending")["pending"]
    assert [(r["number"], r["mac"], r["requests"]) for r in rows] == [(1, mac(5), 2), (2, mac(6), 1)]
    site.ok("client", "approve", mac(6), "lab6", "--image", "win", "--mode", "kept")
    assert boot.BootedDisk(site, mac(6)).size() == SIZE
    assert [r["mac"] for r in site.json("client", "pending")["pending"]] == [mac(5)]
    site.ok("client", "approve", "1", "lab5", "--image", "win")  # by its number
    assert boot.BootedDisk(site, mac(5)).size() == SIZE
    assert "no PC with the number 1 waits" in site.fails("client", "approve", "1", "lab7")


def test_pcs_that_wait_can_be_forgotten_and_come_back(site):
    site.ok("set", "clients.unknown", "ask")
    for number in (5, 6):
        boot.script(site, mac(number))
    assert "2 PCs were forgotten" in site.ok("client", "pending", "--clear", "-n")
    assert len(site.json("client", "pending")["pending"]) == 2
    site.ok("client", "pending", "--clear")
    assert site.json("client", "pending")["pending"] == []
    assert site.json("log")["log"][-1]["verb"] == "pending clear"
    boot.script(site, mac(6))
    assert [(r["number"], r["mac"]) for r in site.json("client", "pending")["pending"]] == [(1, mac(6))]


def test_approve_refuses_who_does_not_wait(site):
    assert "client pending" in site.fails("client", "approve", mac(9), "lab9")


def test_auto_gives_ten_pcs_ten_names_at_once(site):
    site.ok("set", "clients.template_image", "win")
    site.ok("set", "clients.template", "Lab{02}")
    site.ok("set", "clients.unknown", "auto")
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        scripts = list(pool.map(lambda n: boot.script(site, mac(n), source=f"127.0.1.{n + 1}"), range(10)))
    names = {re.search(r"this PC is (\S+)", text)[1] for text in scripts}
    assert names == {f"Lab{n:02}" for n in range(1, 11)}
    assert all(boot.url_of(text) for text in scripts)
    assert {c["mac"] for c in site.json("client", "list")["clients"]} == {MAC, *(mac(n) for n in range(10))}


def test_auto_takes_the_links_of_a_template_client(site):
    make_image(site.files / "games.raw", MIB)
    site.ok("image", "add", "games", site.files / "games.raw", "--data")
    site.ok("client", "link", "pc1", "games", "--slot", "1")
    site.ok("client", "set", "pc1", "--mode", "kept", "--group", "room1")
    site.ok("set", "clients.template_client", "pc1")
    site.ok("set", "clients.unknown", "auto")
    assert boot.url_of(boot.script(site, mac(1)))
    row = next(c for c in site.json("client", "list")["clients"] if c["name"] == "PC001")
    assert (row["mode"], row["group"]) == ("kept", "room1")
    assert [(link["slot"], link["image"]) for link in row["links"]] == [(0, "win"), (1, "games")]


def test_auto_without_an_image_adds_nobody(site):
    site.ok("set", "clients.unknown", "auto")
    before = site.catalog_text()
    assert "clients.template_image" in boot.sentence(boot.script(site, mac(1)))
    site.ok("set", "clients.template_image", "gone")
    assert "gone" in boot.sentence(boot.script(site, mac(1)))
    site.ok("set", "clients.template_image", "--default")
    assert site.catalog_text() == before


# --- the boot event ---


def test_boot_renews_a_volatile_disk_and_keeps_a_kept_one(site):
    site.ok("client", "add", "pc2", "--mac", mac(2), "--image", "win", "--mode", "kept")
    for who, is_kept in ((MAC, False), (mac(2), True)):
        disk = boot.BootedDisk(site, who)
        original = disk.hash()
        disk.write(b"\x5a" * 4096, 8192)
        changed = disk.hash()
        assert changed != original
        assert boot.BootedDisk(site, who).hash() == (changed if is_kept else original)


def test_boot_takes_data_disks_along(site):
    make_image(site.files / "games.raw", MIB)
    site.ok("image", "add", "games", site.files / "games.raw", "--data")
    site.ok("client", "link", "pc1", "games", "--slot", "1")
    site.disk("pc1", 1).write(b"\x5a" * 4096, 0)
    before = overlay_id(site, slot=1)
    boot.script(site, MAC)
    assert overlay_id(site, slot=1) != before


def test_repeated_request_makes_no_work_and_one_row(site):
    boot.script(site, MAC)
    before, rows = overlay_id(site), boots(site)
    for _ in range(10):
        boot.script(site, MAC)
    assert overlay_id(site) == before
    assert boots(site) == rows
    assert len(rows) == 1


def test_live_session_is_waited_for_and_keeps_its_disk(site):
    url = boot.url_of(boot.script(site, MAC))
    before = overlay_id(site)
    with boot.session(site, url):
        text = boot.script(site, MAC)
        assert not boot.url_of(text)
        assert "still in use by the PC at 127.0.0.1" in boot.sentence(text)
        assert "chain --replace --autofree /boot/52-54-00-00-00-01" in text
        assert overlay_id(site) == before
    system.wait_until(lambda: boot.url_of(boot.script(site, MAC)), what="the end of the session to be noticed")
    assert overlay_id(site) != before


def test_session_of_a_pc_that_was_reset_is_no_reason_to_wait(site):
    """Its TCP does not know the connection any more, tgtd's does."""
    url = boot.url_of(boot.script(site, MAC))
    before = overlay_id(site)
    with boot.session(site, url) as pc:
        boot.lose_power(pc)
        assert site.target("pc1")["sessions"]
        assert boot.url_of(boot.script(site, MAC))
        assert site.target("pc1")["sessions"] == []
        assert overlay_id(site) != before


def test_session_of_a_pc_that_is_busy_is_never_cut(site):
    """It says nothing for a while, and somebody asks in its name and from its address; its TCP still answers."""
    url = boot.url_of(boot.script(site, MAC))
    before = overlay_id(site)
    with boot.session(site, url) as pc:
        os.kill(pc.pid, signal.SIGSTOP)
        time.sleep(1.5)  # so long that it counts as idle
        for _ in range(3):
            assert "still in use" in boot.sentence(boot.script(site, MAC))
        os.kill(pc.pid, signal.SIGCONT)
        log = site.files / "session.log"
        size = log.stat().st_size
        system.wait_until(lambda: log.stat().st_size > size, what="the PC to go on")
        assert pc.poll() is None
        assert overlay_id(site) == before


def test_session_from_another_address_is_left_alone(site):
    url = boot.url_of(boot.script(site, MAC))
    with boot.session(site, url) as pc:
        boot.lose_power(pc)
        assert "still in use" in boot.sentence(boot.script(site, MAC, source="127.0.9.9"))


def test_missing_image_is_a_sentence_on_the_screen(site):
    site.ok("down")
    os.rename(site.files / "base.raw", site.files / "away.raw")
    site.run("up")
    text = boot.script(site, MAC)
    assert not boot.url_of(text)
    assert "base.raw" in boot.sentence(text)
    for _ in range(3):
        boot.script(site, MAC)
    rows = boots(site)
    assert len(rows) == 1 and "base.raw" in rows[0]["refused"]
    assert "was refused" in site.ok("client", "why", "pc1")
    os.rename(site.files / "away.raw", site.files / "base.raw")
    assert boot.BootedDisk(site, MAC).size() == SIZE


def test_client_without_a_disk_is_told_so(site):
    site.ok("client", "add", "pc2", "--mac", mac(2))
    assert "diskgate client link pc2" in boot.sentence(boot.script(site, mac(2)))


# --- secrets ---


def test_secret_of_a_boot_ends_with_the_next_one(site):
    site.ok("set", "auth.rotate", "on")
    site.ok("client", "set", "pc1", "--mode", "kept")
    first, second = boot.BootedDisk(site, MAC), boot.BootedDisk(site, MAC)
    assert first.url != second.url
    assert second.can_log_in()
    assert not first.can_log_in()
    assert site.target("pc1")["chap_password"] in second.url
    site.ok("set", "auth.rotate", "off")
    assert boot.url_of(boot.script(site, MAC)) == second.url


def test_secret_of_a_running_client_stays_valid_until_its_next_boot(site):
    """Its initiator comes back with the secret of its own boot: after a request in its name, and after tgtd has died."""
    site.ok("set", "auth.rotate", "on")
    site.ok("client", "set", "pc1", "--mode", "kept")
    disk = boot.BootedDisk(site, MAC)
    with boot.session(site, disk.url):
        assert not boot.url_of(boot.script(site, MAC))
    for pid in site.tgt_processes():
        os.kill(pid, signal.SIGKILL)
    site.ok("up")
    assert disk.can_log_in()
    site.ok("target", "sync")
    assert disk.can_log_in()


def test_rotation_needs_chap(site):
    site.ok("set", "auth.rotate", "on")
    site.ok("set", "auth.chap", "off")
    before = site.catalog_text()
    assert "password" not in boot.url_of(boot.script(site, MAC))
    rows = [line for line in before.splitlines() if 'INSERT INTO "client"' in line]
    assert all(line in site.catalog_text() for line in rows)


# --- a disk that was lost with the server's power ---


def test_lost_volatile_disk_waits_for_the_next_boot(site):
    site.ok("client", "add", "pc2", "--mac", mac(2), "--image", "win")
    site.disk("pc1").write(b"\x5a" * 4096, 0)
    lost = site.disk("pc1")
    boot.cut_server_power(site)
    assert "waits for its next boot" in site.ok("up")
    status = site.json("status")  # and status is content, too
    assert (status["state"], status["problems"]) == ("up", [])
    assert [n["what"] for n in status["notices"]] == ["client pc1 slot 0"]
    assert not lost.can_log_in()
    assert site.target("pc1")["state"] == "closed"
    assert site.disk("pc2").can_log_in()
    site.ok("target", "sync")
    assert not lost.can_log_in()
    assert boot.BootedDisk(site, MAC).can_log_in()
    assert site.json("status")["notices"] == []


def test_lost_volatile_disk_is_opened_by_a_reset(site):
    site.disk("pc1").write(b"\x5a" * 4096, 0)
    boot.cut_server_power(site)
    site.ok("up")
    assert not site.disk("pc1").can_log_in()
    site.ok("client", "reset", "pc1")
    assert site.disk("pc1").can_log_in()


def test_lost_disk_closes_the_whole_target(site):
    make_image(site.files / "games.raw", MIB)
    site.ok("image", "add", "games", site.files / "games.raw", "--data")
    site.ok("client", "link", "pc1", "games", "--slot", "1")
    site.disk("pc1", 1).write(b"\x5a" * 4096, 0)
    boot.cut_server_power(site)
    site.ok("up")
    assert not site.disk("pc1").can_log_in()
    assert boot.BootedDisk(site, MAC).can_log_in()


def test_untouched_volatile_disk_needs_no_boot_after_a_power_cut(site):
    assert site.disk("pc1").can_log_in()
    boot.cut_server_power(site)
    site.ok("up")
    assert site.disk("pc1").can_log_in()


# --- a root of the release before ---


def test_root_of_the_release_before_comes_up(site, repository):
    site.ok("down")
    (site.path / "catalog.db").rename(site.path / "today.db")
    with contextlib.closing(sqlite3.connect(site.path / "catalog.db")) as db:  # the tables of then with the rows of today
        db.executescript((repository / "tests" / "data" / "catalog-v1.sql").read_text())
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("ATTACH ? AS today", [str(site.path / "today.db")])
        for (table,) in db.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall():
            columns = ", ".join(f'"{row[1]}"' for row in db.execute(f"PRAGMA main.table_info({table})"))
            db.execute(f"DELETE FROM main.{table}")
            db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}")
        db.commit()
    site.ok("up")
    assert boot.BootedDisk(site, MAC).size() == SIZE
    assert len(boots(site)) == 1


# --- phases ---


def test_phases_of_a_boot_are_noted_and_told(site):
    url = boot.url_of(boot.script(site, MAC))
    assert "has not logged in" in site.ok("client", "why", "pc1")
    with boot.session(site, url):
        system.wait_until(lambda: boots(site)[0]["written_bytes"] > 0, what="the session to be seen")
        row = site.json("client", "list")["clients"][0]
        assert (row["online"], row["address"], row["boot_image"], row["boot_version"]) == (True, "127.0.0.1", "win", 1)
        assert row["booted_at"]
        assert "It runs, at 127.0.0.1" in site.ok("client", "why", "pc1")
    system.wait_until(lambda: "It ran, and is not logged in now" in site.ok("client", "why", "pc1"), what="its end")
    rows = boots(site)
    assert len(rows) == 1
    assert rows[0]["login_s"] >= 0 and rows[0]["refused"] == ""
    boot.script(site, MAC)
    old, new = boots(site)
    assert old["end_s"] is not None and new["end_s"] is None


def test_why_tells_of_a_client_that_never_asked(site):
    assert "never asked for its boot script" in site.ok("client", "why", "pc1")


def test_wake_sends_a_magic_packet(site):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.66.0.1", 9))
        sock.settimeout(10)
        site.ok("set", "wake.address", "127.66.0.1")
        site.ok("client", "wake", "pc1")
        assert sock.recv(1000) == b"\xff" * 6 + bytes.fromhex(MAC.replace(":", "")) * 16


def test_wake_without_a_network_says_the_way_out(site):
    assert "wake.address" in site.fails("client", "wake", "pc1")


# --- the daemon ---


def test_killed_daemon_costs_a_running_client_nothing(site):
    url = boot.url_of(boot.script(site, MAC))
    with boot.session(site, url) as pc:
        os.kill(boot.daemon_of(site), signal.SIGKILL)
        system.wait_until(lambda: boot.daemon_of(site) is None)
        assert site.run("status").returncode == 3
        time.sleep(1)
        assert pc.poll() is None
        assert "diskgated started" in site.ok("up")
        assert site.json("status")["state"] == "up"
        assert not boot.url_of(boot.script(site, MAC))
        assert pc.poll() is None
    assert boot.daemon_of(site)


def test_killed_within_boot_events_loses_nothing(site):
    """Killed at any moment while PCs ask: the next start serves all of them."""
    site.ok("set", "clients.template_image", "win")
    site.ok("set", "clients.unknown", "auto")
    for turn in range(3):
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(boot.get, site, f"/boot/{mac(turn * 6 + n)}") for n in range(6)]
            time.sleep(0.05 * turn)
            os.kill(boot.daemon_of(site), signal.SIGKILL)
            for a in asked:
                a.exception()
        site.ok("up")
    for n in range(18):
        assert boot.BootedDisk(site, mac(n)).can_log_in()
    assert len(site.json("client", "list")["clients"]) == 19


def test_daemon_revives_what_died(site):
    site.ok("set", "gateway.watch_s", 1)
    site.disk("pc1").write(b"\x5a" * 4096, 0)
    before = site.disk("pc1").hash()
    for processes in (site.tgt_processes, site.file_system_processes):
        for pid in processes():
            os.kill(pid, signal.SIGKILL)
        system.wait_until(lambda: site.run("status").returncode == 0, what="the repair")
        assert site.disk("pc1").hash() == before


def test_daemon_follows_its_settings(site):
    old = site.boot_port
    site.boot_port = system.free_ports(1)
    site.ok("set", "boot.port", site.boot_port)
    assert boot.get(site, "/status")[0] == 200
    assert old not in system.listening_ports()
    site.ok("set", "boot.http", "off")
    system.wait_until(lambda: site.boot_port not in system.listening_ports())
    assert site.json("status")["state"] == "up"
    site.ok("set", "boot.http", "on")
    assert boot.get(site, "/status")[0] == 200


def test_a_room_switched_on_at_once(site):
    """Fifty PCs are switched on at the same moment, and each gets its script without asking twice."""
    for n in range(50):
        site.ok("client", "add", f"lab{n}", "--mac", mac(n), "--image", "win")
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        scripts = list(pool.map(lambda n: boot.script(site, mac(n), source=f"127.0.1.{n + 1}"), range(50)))
    assert all(boot.url_of(text) for text in scripts)


def test_taken_port_says_the_way_out(make_root):
    root = make_root()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", root.boot_port))
        sock.listen()
        text = root.fails("up")
        assert f"port {root.boot_port}" in text and "diskgate set boot.port" in text and "boot.http off" in text
        assert root.json("status")["state"] == "down"
        root.ok("set", "boot.http", "off")
        root.ok("up")


def test_port_of_a_tgtd_that_is_still_dying_is_waited_for(make_root):
    """A program that was killed has its port until the kernel has ended it."""
    root = make_root()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", root.port))
        sock.listen()
        text = root.fails("up")
        assert f"port {root.port}" in text and "gateway.port" in text
        threading.Timer(1, sock.close).start()
        root.ok("up")


def test_two_daemons_do_not_share_a_root(site):
    text = site.run("status")
    assert text.returncode == 0
    done = subprocess.run(
        [str(site.programs.diskgate.with_name("diskgated")), "--root", str(site.path)], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 1
    assert "runs already" in done.stderr


def test_down_stops_it_and_leaves_no_lock(site):
    site.ok("down")
    assert boot.daemon_of(site) is None
    assert not (site.path / "run" / "diskgated.lock").exists()
    assert "stopped" not in site.ok("down").split("\n")[0]
