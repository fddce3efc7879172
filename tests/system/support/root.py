# SPDX-License-Identifier: GPL-2.0-or-later
"""A root of its own for one test, and the command line working on it."""

import contextlib
import json
import os
import pathlib
import shutil
import sqlite3
import stat
import subprocess
import tempfile
import threading

from . import system
from .iscsi import Disk

SHARDS_MAX = 4
LIMIT_S = 400  # of one test, where it does not say otherwise
COMMAND_S = 120  # of one command


class Programs:
    def __init__(self, build):
        self.build = pathlib.Path(build)
        self.diskgate = self.build / "gateway" / "diskgate"
        self.diskgate_fs = self.build / "fusefs" / "diskgate-fs"
        self.ackwrite = self.build / "tests" / "system" / "helpers" / "iscsi-ackwrite"


class Root:
    """Made by the fixtures `root` and `make_root`; close() stops everything, whatever state it is in, and tells what was left."""

    def __init__(self, programs, limit_s):
        self.programs = programs
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="diskgate-test-", dir=os.environ.get("DISKGATE_TEST_TMP", "/var/tmp")))
        self.base.chmod(0o755)  # the data plane runs as its own user and must reach the images
        self.path = self.base / "root"
        self.files = self.base / "files"
        self.files.mkdir()
        self.mnt = self.path / "run" / "mnt"
        self.ports = system.free_ports(SHARDS_MAX + 1)
        self.port = self.ports
        self.boot_port = self.port + SHARDS_MAX
        # A test that reads a view of a server that hangs could not be interrupted: its connection is ended first.
        self.watchdog = threading.Timer(limit_s, system.unmount_all, [str(self.base)])
        self.watchdog.daemon = True
        self.watchdog.start()

    # --- the command line ---

    def command(self, *args):
        return [str(self.programs.diskgate), "--root", str(self.path), *map(str, args)]

    def run(self, *args, timeout=COMMAND_S):
        """Any outcome is fine."""
        return subprocess.run(self.command(*args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)

    def ok(self, *args, timeout=COMMAND_S):
        """Must succeed; returns what it printed."""
        done = self.run(*args, timeout=timeout)
        assert done.returncode == 0, f"{args} -> {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *args):
        return json.loads(self.ok("--json", *args))

    def fails(self, *args, status=1, timeout=COMMAND_S):
        """Must fail with one sentence; returns the sentence."""
        done = self.run(*args, timeout=timeout)
        said = f"{args} -> {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == status, said
        assert len(done.stderr.splitlines()) == 1, said
        return done.stderr.strip()

    def init(self, **settings):
        self.ok("init")
        """Parts that died are not repaired behind a test's back, unless it says otherwise (gateway_watch_s)."""
        self.ok("set", "gateway.port", self.port)
        self.ok("set", "boot.port", self.boot_port)
        self.ok("set", "gateway.watch_s", 0)
        for key, value in settings.items():
            self.ok("set", key.replace("_", ".", 1), value)
        return self

    # --- what the catalog holds ---

    def catalog_text(self):
        """All rows of the catalog but the audit's, as SQL."""
        with sqlite3.connect(f"file:{self.path}/catalog.db?mode=ro", uri=True) as db:
            lines = [line for line in db.iterdump() if 'INSERT INTO "audit"' not in line and "sqlite_sequence" not in line]
        db.close()
        return "\n".join(lines)

    def client_ids(self):
        """{name: id}: what the catalog numbers them by."""
        with contextlib.closing(sqlite3.connect(f"file:{self.path}/catalog.db?mode=ro", uri=True)) as db:
            return dict(db.execute("SELECT name, id FROM client"))

    # --- the running parts ---

    def targets(self):
        return self.json("target", "list")["targets"]

    def target(self, client, slot=0):
        for row in self.targets():
            if row["client"] == client and row["slot"] == slot:
                return row
        raise AssertionError(f"'target list' has no row for {client} slot {slot}")

    def disk(self, client, slot=0):
        return Disk(self.target(client, slot), self.files)

    def view(self, client, slot=0):
        return self.mnt / "clients" / client / f"disk{slot}.img"

    def file_system_processes(self):
        """{pid: command line} of this root's diskgate-fs."""
        return {p: c for p, c in system.processes_of(str(self.path)).items() if "diskgate-fs" in c.split(" ")[0]}

    def tgt_processes(self):
        return {p: c for p, c in system.processes_of(str(self.path)).items() if "tgtd" in c.split(" ")[0]}

    # --- the end ---

    def sockets(self):
        found = []
        for folder, _, names in os.walk(self.path / "run") if not system.mounts_below(str(self.path)) else ():
            found += [f"{folder}/{n}" for n in names if stat.S_ISSOCK(os.lstat(f"{folder}/{n}").st_mode)]
        return found

    def leftovers(self):
        base = str(self.base)
        found = [f"process {pid}: {text}" for pid, text in system.processes_of(base).items()]
        found += [f"mount {point}" for point, _, _ in system.mounts_below(base)]
        found += [f"socket {path}" for path in self.sockets()]
        ours = {*range(self.port, self.port + SHARDS_MAX), self.boot_port}  # a test may have moved the latter
        found += [f"port {port} is still listened on" for port in sorted(ours & system.listening_ports())]
        return found

    def down(self):
        """`down`, and what is wrong with it."""
        if not self.path.exists():
            return []
        try:
            done = self.run("down")
        except subprocess.TimeoutExpired:
            return ["'down' did not end"]
        return [] if done.returncode == 0 else [f"'down' -> {done.returncode}: {done.stdout}{done.stderr}"]

    def close(self):
        faults = self.down()
        faults += self.leftovers()
        self.watchdog.cancel()
        system.unmount_all(str(self.base))
        system.kill_all(system.processes_of(str(self.base)))
        shutil.rmtree(self.base, ignore_errors=True)
        system.release_ports(self.ports)
        return faults
