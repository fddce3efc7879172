# SPDX-License-Identifier: GPL-2.0-or-later
"""What the request of a client does to its overlays, its secret and its row, and what is told of its boot."""

import contextlib
import os
import signal
import socket
import sqlite3
import time

import pytest
from support import boot, system
from support.boot import MAC, SIZE, mac
from support.files import MIB, make_image


@pytest.fixture
def site(root):
    return boot.serve_one(root)


def overlay_id(site, client="pc1", slot=0):
    return next(r["overlay_id"] for r in site.json("overlay", "show", client)["overlays"] if r["slot"] == slot)


def boots(site):
    return site.json("log", "--boots")["boots"]


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
        time.sleep(1.2)  # no PC starts again within a second, and TCP calls nothing shorter idle
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
        db.execute("INSERT OR IGNORE INTO main.overlay_dir (name) SELECT overlay_dir FROM main.client")  # then it had those that are in use, too
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
    address = f"127.66.{site.port >> 8}.{site.port & 255}"  # of this test alone
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 9))
        sock.settimeout(60)
        site.ok("set", "wake.address", address)
        site.ok("client", "wake", "pc1")
        assert sock.recv(1000) == b"\xff" * 6 + bytes.fromhex(MAC.replace(":", "")) * 16


def test_wake_without_a_network_says_the_way_out(site):
    assert "wake.address" in site.fails("client", "wake", "pc1")
