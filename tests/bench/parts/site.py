# SPDX-License-Identifier: GPL-2.0-or-later
"""The temp folder of a benchmark and all that runs in it. Whatever happens, close() leaves nothing behind."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "tests" / "system"))

from support import system  # noqa: E402
from support.direct import view_counts  # noqa: E402, F401
from support.iscsi import url_of  # noqa: E402
from support.root import Programs, Root  # noqa: E402

MIB = 1 << 20


class Skip(Exception):
    """A subject or a job cannot be had on this machine; the text says why."""


class Stop(Exception):
    """Ctrl-C or a signal."""


def stop_on_signals():
    def stop(number, _frame):
        raise Stop(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def ignore_signals():
    """While cleaning up, so that a second Ctrl-C does not leave half of it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def call(*command, timeout=120, env=None, cwd=None):
    """Run a program that must succeed; returns what it printed."""
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **(env or {})}, cwd=cwd)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def need(*programs):
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise Skip(f"{', '.join(missing)} is not installed")


def write_random(path, size):
    """A file of random bytes: no store can guess, compress or leave out any of it."""
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())


class Site:
    """One root of Diskgate in a temp folder, with an image of random bytes; others may put files and daemons beside it."""

    def __init__(self, build, size_bytes, limit_s, make_base=None):
        self.programs = Programs(build)
        for path in (self.programs.diskgate, self.programs.diskgate_fs):
            if not path.exists():
                raise SystemExit(f"'{path}' is not built; give a build folder with --build")
        self.load = pathlib.Path(build) / "tests" / "bench" / "iscsi-load"
        self.portal = None
        self.children = []  # daemons that are not diskgate's; ended in close()
        self.root = Root(self.programs, limit_s)
        self.files = self.root.files
        self.base = self.files / "base.raw"
        try:
            make_base(self.base) if make_base else write_random(self.base, size_bytes)
            self.root.init()
            self.root.ok("image", "add", "base", self.base)
        except BaseException:
            self.close()
            raise

    def add_client(self, number, name, mode):
        mac = "52:54:00:be:" + f"{number:04x}"[:2] + ":" + f"{number:04x}"[2:]
        self.root.ok("client", "add", name, "--mac", mac, "--image", "base", "--mode", mode)

    def up(self):
        self.root.ok("up")

    def worker_pid(self):
        """The process that serves the views: the child of the two that diskgate-fs consists of."""
        pids = self.root.file_system_processes()
        for pid in pids:
            with open(f"/proc/{pid}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            if parent in pids:
                return pid
        raise RuntimeError("diskgate-fs does not run")

    def spawn(self, *command, env=None):
        child = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})}, cwd=self.files)
        self.children.append(child)
        return child

    def url(self, client):
        return url_of(self.root.target(client))

    # --- a plain file behind the root's own tgtd ---

    def tgtadm(self, *words, shard=0):
        return call("tgtadm", "-C", shard + 1, "--lld", "iscsi", *words, env={"TGT_IPC_SOCKET": "tgt"}, cwd=self.root.path / "run")

    def target_parameters(self, tid):
        """The parameters that a target of the root has, as tgtd tells them, so that ours are the same."""
        text = self.tgtadm("--op", "show", "--mode", "target", "--tid", tid)
        return [line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith(" ")]

    def stop_pings(self, shards):
        """No target of these tgtds asks its initiators whether they are there. libiscsi before 1.20 (sahlberg/libiscsi, pull request 328)
        loses its session over such a question when it comes between the data of a write: its answer gets a number that has passed."""
        for shard in range(shards):
            shown = self.tgtadm("--op", "show", "--mode", "target", shard=shard)
            for tid in [line.split()[1].rstrip(":") for line in shown.splitlines() if line.startswith("Target ")]:
                self.tgtadm("--op", "update", "--mode", "target", "--tid", tid, "-n", "nop_interval", "-v", 0, shard=shard)

    def all_urls(self):
        """Of slot 0 of every client of the root, by name."""
        return [url_of(row) for row in sorted(self.root.targets(), key=lambda row: row["client"]) if row["slot"] == 0]

    def export(self, path, name):
        """One more target on the same tgtd, as diskgate makes its own; returns its URL."""
        return self.export_as(path, name)[1]

    def unexport(self, tid):
        """Take away a target that nobody is logged in to any more."""
        self.tgtadm("--op", "delete", "--mode", "target", "--force", "--tid", tid)

    def export_as(self, path, name):
        """(tid, URL) of one more target."""
        shown = self.tgtadm("--op", "show", "--mode", "target")
        tids = [int(line.split()[1].rstrip(":")) for line in shown.splitlines() if line.startswith("Target ")]
        tid, iqn = max(tids) + 1, f"iqn.2026-01.test.diskgate:bench.{name}"
        self.tgtadm("--op", "new", "--mode", "target", "--tid", tid, "-T", iqn)
        for key, value in self.target_parameters(tids[0]):
            with contextlib.suppress(RuntimeError):  # those that are results of a login cannot be set
                self.tgtadm("--op", "update", "--mode", "target", "--tid", tid, "-n", key, "-v", value)
        self.tgtadm("--op", "new", "--mode", "logicalunit", "--tid", tid, "--lun", 1, "-b", path, "--bstype", "rdwr")
        self.tgtadm("--op", "update", "--mode", "logicalunit", "--tid", tid, "--lun", 1, "--params", "thin_provisioning=1")
        self.tgtadm("--op", "bind", "--mode", "target", "--tid", tid, "-I", "ALL")
        self.portal = self.portal or self.root.targets()[0]["portal"]
        return tid, f"iscsi://{self.portal}/{iqn}/1"

    # --- the end ---

    def close(self):
        """Everything away. Returns what went wrong with it, a list of sentences."""
        for child in reversed(self.children):
            child.terminate()
        for child in reversed(self.children):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(3)
        system.unmount_all(str(self.files))
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait(5)
        return self.root.close()
