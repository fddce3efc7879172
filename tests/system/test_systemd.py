# SPDX-License-Identifier: GPL-2.0-or-later
"""The units of contrib/systemd. There is no systemd in a test: systemd-analyze reads them, and a small stand-in runs what they say, with the
capabilities that they leave."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess

import pytest
from support import boot, system
from support.files import MIB, make_image

STANDIN = pathlib.Path(boot.__file__).with_name("fake_systemctl.py")
NAME = "diskgate-test"


@pytest.fixture
def units(root, repository, programs, monkeypatch):
    """The units of this root, and a systemctl that runs them."""
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    folder, binaries = root.base / "units", root.base / "bin"
    folder.mkdir()
    binaries.mkdir()
    shutil.copy(STANDIN, binaries / "systemctl")
    monkeypatch.setenv("PATH", f"{binaries}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_UNITS", str(folder))
    make = repository / "contrib" / "systemd" / "make-units"
    subprocess.run([make, "--root", root.path, "--name", NAME, "--sbindir", programs.diskgate.parent, folder], check=True, timeout=30)
    make_image(root.files / "base.raw", MIB)
    root.ok("image", "add", "win", root.files / "base.raw")
    root.ok("client", "add", "pc1", "--mac", "52:54:00:00:00:01", "--image", "win")
    yield folder
    systemctl("stop", f"{NAME}d.service", f"{NAME}-tgtd@*.service", f"{NAME}-fs.service")


def systemctl(verb, *names):
    return subprocess.run(["systemctl", verb, *names], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300)


def start_all():
    for name in ("-fs", "-tgtd@0", "-dnsmasq", "d", ""):
        done = systemctl("start", f"{NAME}{name}.service")
        assert done.returncode == 0, done.stdout + done.stderr


def running(root):
    return {"fs": set(root.file_system_processes()), "tgtd": set(root.tgt_processes()), "diskgated": boot.daemon_of(root)}


def test_systemd_accepts_the_units(units):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    files = sorted(str(path) for path in units.iterdir())
    assert len(files) == 6
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_make_units_refuses_what_a_unit_cannot_take(repository, tmp_path):
    make = repository / "contrib" / "systemd" / "make-units"
    for words in (["--root", "relative"], ["--root", "/a b"], ["--root", "/a\nExecStart=x"], ["--name", "a/b"], ["--name", ""]):
        done = subprocess.run([make, *words, tmp_path], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 1 and done.stderr.startswith("make-units: ")
    assert list(tmp_path.iterdir()) == []


def test_units_bring_a_root_up_and_up_adopts_it(root, units):
    start_all()
    before = running(root)
    assert len(before["tgtd"]) == 1 and before["diskgated"] and len(before["fs"]) == 2
    status = root.json("status")
    assert status["state"] == "up" and status["direct"]["shards"] == [{"shard": 0, "is_on": True, "disks": 1}]
    root.disk("pc1").write(b"\x5a" * 4096, 0)
    assert "started" not in root.ok("up")
    assert running(root) == before


def test_file_system_says_that_it_is_ready_when_it_serves(root, units):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = root.base / "notify"
        sock.bind(str(path))
        path.chmod(0o777)
        sock.settimeout(90)
        env = {**os.environ, "NOTIFY_SOCKET": str(path), "DISKGATE_ROOT": str(root.path), "DISKGATE_UNITS": NAME}
        process = subprocess.Popen([root.programs.diskgate, "part", "run", "fs"], env=env, stdin=subprocess.DEVNULL)
        try:
            said = [sock.recv(4096).decode()]
            assert said[0].startswith("STATUS=")
            while "READY=1" not in said[-1].split("\n"):
                said.append(sock.recv(4096).decode())
            assert root.view("pc1").stat().st_size == MIB
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=90) == 0
            while "STOPPING=1" not in said[-1].split("\n"):
                said.append(sock.recv(4096).decode())
        finally:
            process.kill()
            process.wait(timeout=30)


def test_a_unit_that_is_restarted_touches_no_other_one(root, units):
    start_all()
    disk = root.disk("pc1")
    disk.write(b"\x5a" * 4096, 0)
    content = disk.hash()
    for unit, part in (("d", "diskgated"), ("-tgtd@0", "tgtd"), ("-fs", "fs")):
        before = running(root)
        assert systemctl("restart", f"{NAME}{unit}.service").returncode == 0
        after = running(root)
        assert {name for name in before if before[name] != after[name]} == {part}
        root.ok("up")
        assert disk.hash() == content


def test_part_that_died_is_started_as_its_unit(root, units):
    start_all()
    for pid in root.tgt_processes():
        os.kill(pid, signal.SIGKILL)
    system.wait_until(lambda: not root.tgt_processes())
    root.ok("up")
    assert (units / "asked").read_text().splitlines()[-1] == f"start {NAME}-tgtd@0.service"
    assert root.disk("pc1").can_log_in()
    root.ok("set", "gateway.shards", 2)
    root.ok("up")
    assert f"start {NAME}-tgtd@1.service" in (units / "asked").read_text()
    assert len(root.tgt_processes()) == 2


def test_daemon_notices_a_part_that_was_started_anew(root, units):
    """systemd may be faster than its look whether a part is missing."""
    root.ok("set", "gateway.watch_s", 1)
    start_all()
    disk = root.disk("pc1")
    assert disk.can_log_in()
    system.wait_until(lambda: systemctl("restart", f"{NAME}-tgtd@0.service").returncode == 0)
    system.wait_until(disk.can_log_in, what="the targets to be made anew")


def test_down_stops_the_units_and_forgets_them(root, units):
    start_all()
    assert (root.path / "run" / "units").exists()
    root.ok("down")
    assert running(root) == {"fs": set(), "tgtd": set(), "diskgated": None}
    assert (units / "asked").read_text().splitlines()[-1].startswith(f"stop {NAME}.target {NAME}.service")
    assert not (root.path / "run" / "units").exists()
    root.ok("up")  # by itself again
    assert "start" not in (units / "asked").read_text().splitlines()[-1]
    assert root.disk("pc1").can_log_in()


def test_mark_of_another_start_of_the_machine_counts_for_nothing(root, units):
    start_all()
    root.ok("down")
    (root.path / "run" / "units").write_text(f"{NAME} 00000000-0000-0000-0000-000000000000\n")
    asked = (units / "asked").read_text()
    root.ok("up")
    assert (units / "asked").read_text() == asked


def test_shard_that_is_not_asked_for_is_not_started(root, units):
    assert systemctl("start", f"{NAME}-tgtd@3.service").returncode == 0
    assert root.tgt_processes() == {}
    assert "do not ask" in root.fails("part", "wanted", "dnsmasq")


def test_parts_refuse_what_they_do_not_know(root):
    for words in (("run", "nonsense"), ("run", "tgtd"), ("run", "tgtd", "64"), ("run", "tgtd", "x"), ("run", "fs", "1"), ("wait", "fs"), ("stop", "dnsmasq")):
        assert root.run("part", *words).returncode == 2
