# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon of the boot service: it is killed, follows its settings, starts and stops."""

import concurrent.futures
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from support import boot, system
from support.boot import MAC, mac


@pytest.fixture
def site(root):
    return boot.serve_one(root)


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
    site.ok("set", "gateway.watch_s", 3600)  # the end of a process is noticed without waiting for that
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
        [str(site.programs.diskgate.with_name("diskgated")), "--root", str(site.path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "runs already" in done.stderr


def test_down_stops_it_and_leaves_no_lock(site):
    site.ok("down")
    assert boot.daemon_of(site) is None
    assert not (site.path / "run" / "diskgated.lock").exists()
    assert "stopped" not in site.ok("down").split("\n")[0]
