# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/security.md holds on a running root: who may open what, and where passwords are not."""

import os
import pathlib
import stat
import sys

import pytest
from support import system
from support.files import MIB, make_image
from support.stranger import STRANGER, as_stranger


@pytest.fixture
def site(root):
    make_image(root.files / "base.raw", 4 * MIB)
    root.ok("image", "add", "win", root.files / "base.raw")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", "kept")
    root.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "win")
    root.ok("up")
    root.disk("pc01").write(b"\x01" * 4096, 0)
    return root


def worker_of(site):
    """Pid of the half of diskgate-fs that is not root."""
    found = [pid for pid in site.file_system_processes() if system.user_of(pid) != 0]
    assert len(found) == 1
    return found[0]


def secrets_of(site):
    return [row["chap_password"] for row in site.targets()]


def inodes_of(site):
    """{path below the root: stat} of all but the mount."""
    found = {}
    for folder, folders, names in os.walk(site.path):
        if pathlib.Path(folder) == site.mnt.parent:
            folders.remove("mnt")
        for name in folders + names:
            path = pathlib.Path(folder) / name
            found[str(path.relative_to(site.path))] = path.lstat()
    return found


def test_nobody_but_root_and_the_serving_user_can_open_what_matters(site):
    user = system.user_of(worker_of(site))
    assert user != 0
    seen = set()
    for path, st in inodes_of(site).items():
        mode = stat.S_IMODE(st.st_mode)
        top = path.split("/")[0]
        assert not mode & 0o022, f"{path} can be written to by others: {mode:o}"
        if top.startswith("catalog.db"):
            expected = (0o600, 0)
        elif path == "journal":
            expected = (0o600, user)
        elif top in ("overlays", "bootsets", "kept") or path.startswith(("run/live", "run/frozen", "run/ram")):
            expected = (0o700 if stat.S_ISDIR(st.st_mode) else 0o600, user)
        elif path in ("run/fs.sock", "run/direct.sock"):
            expected = (0o600, 0)
        elif path.endswith(".lock") and path.startswith("run/") and "/tgt" not in path:
            expected = (0o600, 0)
        elif path.endswith(".log"):
            expected = (0o640, 0)
        else:
            assert st.st_uid == 0, path
            continue
        assert (mode, st.st_uid) == expected, f"{path} is {mode:o} of user {st.st_uid}"
        seen.add(path)
    assert {"catalog.db", "overlays", "kept", "overlays/pc01/0.data", "run/live", "run/fs.sock", "run/direct.sock", "run/fs.log", "run/tgt0.log", "run/up.lock"} <= seen


def test_a_stranger_gets_nothing_from_sockets_mount_and_catalog(site):
    assert as_stranger(["ls", str(site.mnt)]).returncode != 0
    assert as_stranger(["cat", str(site.path / "catalog.db")]).returncode != 0
    assert as_stranger(site.command("target", "list")).returncode == 1
    assert as_stranger(site.command("client", "set", "pc01", "--mode", "kept")).returncode == 1
    control = ["sh", "-c", f"cd '{site.path}/run' && exec tgtadm -C 1 --lld iscsi --mode target --op show"]
    done = as_stranger(control, env={"PATH": "/usr/sbin:/usr/bin:/bin", "TGT_IPC_SOCKET": "tgt"})
    assert done.returncode != 0 and "pc01" not in done.stdout
    talk = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])"
    assert as_stranger([sys.executable, "-c", talk, str(site.path / "run" / "fs.sock")]).returncode != 0
    assert as_stranger([sys.executable, "-c", talk.replace("UNIX", "UNIX, socket.SOCK_SEQPACKET"), str(site.path / "run" / "direct.sock")]).returncode != 0
    lock = "import fcntl,sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    assert as_stranger([sys.executable, "-c", lock, str(site.path / "run" / "up.lock")]).returncode != 0


def test_the_half_that_serves_has_no_rights_left(site):
    text = pathlib.Path(f"/proc/{worker_of(site)}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    user = str(system.user_of(worker_of(site)))
    assert set(fields["Uid"].split()) == {user}
    assert fields["Groups"].strip() == ""
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(fields[name], 16) == 0, name
    assert fields["NoNewPrivs"].strip() == "1"


def test_no_password_is_in_logs_or_in_a_process_that_stays(site):
    secrets = secrets_of(site)
    assert len(secrets) == 2 and all(len(secret) == 16 for secret in secrets)
    for path in site.path.glob("run/*.log"):
        text = path.read_text(errors="replace")
        assert not any(secret in text for secret in secrets), path
    for pid in [*site.file_system_processes(), *site.tgt_processes()]:
        for name in ("cmdline", "environ"):
            text = pathlib.Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
            assert not any(secret in text for secret in secrets), f"{name} of {pid}"


def test_passwords_are_shown_only_when_asked_for(site):
    secrets = secrets_of(site)
    for words in (["target", "list"], ["client", "show", "pc01"], ["--json", "client", "list"], ["--json", "log"], ["--json", "status"]):
        text = site.run(*words).stdout
        assert not any(secret in text for secret in secrets), words
    assert secrets[0] in site.ok("target", "list", "--secrets")


@pytest.mark.parametrize("name", [".", "run", "catalog.db"])
def test_root_runs_nothing_from_a_root_that_others_can_change(site, name):
    site.ok("down")
    path = site.path / name
    mode = stat.S_IMODE(path.stat().st_mode)
    os.chmod(path, mode | 0o020)
    assert "can be changed by other users" in site.fails("up")
    os.chmod(path, mode)
    os.chown(path, STRANGER, STRANGER)
    assert "can be changed by other users" in site.fails("up")
    os.chown(path, 0, 0)
    site.ok("up")


def test_an_image_of_another_user_is_served_without_giving_it_away(site):
    private = make_image(site.files / "private.raw", MIB, seed=3)
    os.chmod(private, 0o600)
    site.ok("image", "add", "private", private, "--data")
    site.ok("client", "link", "pc02", "private", "--slot", "1")
    assert site.disk("pc02", 1).size() == MIB
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert as_stranger(["cat", str(site.mnt / "images/private/v1/disk.img")]).returncode != 0
