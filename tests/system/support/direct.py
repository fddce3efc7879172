# SPDX-License-Identifier: GPL-2.0-or-later
"""Direct reads: who answers what a client reads, and an initiator that knows which bytes it may see."""

import json
import os
import pathlib
import signal
import subprocess

from .control import ask
from .iscsi import url_of


def view_counts(root, client, slot=0):
    """What diskgate-fs tells of one disk: direct_luns, direct_reads, direct_read_bytes, reads, read_bytes, ..."""
    for view in ask(root, cmd="status")["views"]:
        if view["client"] == client and view["slot"] == slot:
            return view
    raise AssertionError(f"diskgate-fs knows no {client} slot {slot}")


def stores(root):
    """{client: store of its boot disk}"""
    return {row["client"]: row["store"] for row in root.targets() if row["slot"] == 0}


def is_on(root):
    """Of each tgtd, by `status`."""
    return [row["is_on"] for row in json.loads(root.run("--json", "status").stdout)["direct"]["shards"]]


def notices(root):
    """{what: notice} about direct reads."""
    told = json.loads(root.run("--json", "status").stdout)["notices"]
    return {row["what"]: row["notice"] for row in told if row["what"].startswith("direct reads")}


def stop_pings(root):
    """No target asks its initiators whether they are there. libiscsi before 1.20 (sahlberg/libiscsi, pull request 328) loses its session over such
    a question when it comes between the data of a write: its answer gets a number that has passed."""
    for row in {(row["client"], row["shard"]): row for row in root.targets()}.values():
        number = root.client_ids()[row["client"]]
        command = ["tgtadm", "-C", row["shard"] + 1, "--lld", "iscsi", "--op", "update", "--mode", "target", "--tid", number, "-n", "nop_interval", "-v", 0]
        subprocess.run(list(map(str, command)), env={**os.environ, "TGT_IPC_SOCKET": "tgt"}, cwd=root.path / "run", check=True, timeout=30)


class Checker:
    """iscsi-coherence on the disks of some clients of one root (of one client, but where it shall fail)."""

    def __init__(self, root, *clients, seconds=600, base="base.raw", options=()):
        self.program = root.programs.build / "tests" / "system" / "helpers" / "iscsi-coherence"
        if not self.program.exists():
            import pytest  # tests/bench uses this file, too

            pytest.skip("iscsi-coherence is not built: libiscsi-dev was missing")
        self.final = pathlib.Path(root.files / "final")
        stop_pings(root)
        urls = [url_of(root.target(client)) for client in clients]
        self.process = subprocess.Popen(
            [str(self.program), "-t", str(seconds), "-o", str(self.final), *map(str, options), str(root.files / base), *urls],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def __enter__(self):
        assert self.process.stdout.readline() == "ready\n", self.process.communicate(timeout=60)
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=60)

    def goes_on(self):
        assert self.process.poll() is None, self.process.communicate(timeout=60)[1]

    def status(self, seconds=120):
        """Its exit status and what it said about a wrong read, when it has ended by itself."""
        out, said = self.process.communicate(timeout=seconds)
        self.counts = json.loads(out.splitlines()[-1]) if out else {}
        return self.process.returncode, said

    def stop(self):
        """Let it end; all that it read must have been right. What it did."""
        self.process.send_signal(signal.SIGTERM)
        status, said = self.status()
        assert status == 0, said
        return self.counts
