# SPDX-License-Identifier: GPL-2.0-or-later
"""SCSI conformance by libiscsi's own suites: a view fails exactly what a plain file behind the same tgtd fails.

Each test runs in a process of its own, because failures spread within one (several suites fail together that pass alone).
"""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.files import MIB, make_image
from support.iscsi import url_of

TARGET_ID = 50000  # far from those that diskgate gives
PLAIN_IQN = "iqn.2026-01.test.diskgate:plain"
ONE_TEST_S = 400  # WRITE SAME without a length is a write of 512 bytes for each block of the disk
SKIPPED_FAMILIES = ("iSCSI",)  # tests of tgtd's session layer, where the backing file takes no part


def all_tests():
    text = subprocess.run(["iscsi-test-cu", "--list"], capture_output=True, text=True, check=True, timeout=30).stdout
    names = [line.strip() for line in text.splitlines() if line.startswith("ALL.") and line.count(".") == 2]
    return [name for name in names if not name.split(".")[1].startswith(SKIPPED_FAMILIES)]


def outcome(name, url):
    try:
        done = subprocess.run(
            ["iscsi-test-cu", "--dataloss", "-t", name, url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=ONE_TEST_S,
        )
    except subprocess.TimeoutExpired:
        return "hung"
    if done.returncode not in (0, 1):
        return f"ended with {done.returncode}"
    if done.returncode == 1:
        return "failed"
    return "skipped" if "[SKIPPED]" in done.stdout else "passed"


class PlainTarget:
    """A second target on the root's own tgtd, over a plain file."""

    def __init__(self, root, control_port, path):
        self.command = ["tgtadm", "-C", str(control_port), "--lld", "iscsi"]
        self.cwd = root.path / "run"
        target, lun = ["--mode", "target", "--tid", TARGET_ID], ["--mode", "logicalunit", "--tid", TARGET_ID, "--lun", 1]
        self.call("--op", "new", *target, "-T", PLAIN_IQN)
        self.call("--op", "new", *lun, "-b", path, "--bstype", "rdwr")
        self.call("--op", "update", *lun, "--params", "thin_provisioning=1")
        self.call("--op", "bind", *target, "-I", "ALL")

    def call(self, *args):
        environment = dict(os.environ, TGT_IPC_SOCKET="tgt")
        subprocess.run([*self.command, *map(str, args)], cwd=self.cwd, env=environment, check=True, timeout=30)

    def remove(self):
        self.call("--op", "unbind", "--mode", "target", "--tid", TARGET_ID, "-I", "ALL")
        self.call("--op", "delete", "--mode", "target", "--tid", TARGET_ID, "--force")


def control_port(root):
    """The number behind the control socket that tgtd made in ROOT/run."""
    (name,) = [n for n in os.listdir(root.path / "run") if n.startswith("tgt.") and not n.endswith(".lock")]
    return int(name.rpartition(".")[2])


@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("iscsi-test-cu") is None, reason="iscsi-test-cu (libiscsi-bin) is not installed")
def test_view_fails_exactly_what_a_plain_file_fails(root):
    image = make_image(root.files / "base.raw", 128 * MIB)
    plain_file = shutil.copy(image, root.files / "plain.raw")
    root.ok("image", "add", "win", image)
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", "kept")
    root.ok("up")
    row = root.target("pc01")
    plain = PlainTarget(root, control_port(root), plain_file)
    urls = [url_of(row), f"iscsi://{row['portal']}/{PLAIN_IQN}/1"]
    names = all_tests()
    assert len(names) > 150
    try:
        with ThreadPoolExecutor(2) as pool:
            view_results, plain_results = pool.map(lambda url: {name: outcome(name, url) for name in names}, urls)
    finally:
        plain.remove()
    assert sum(result == "passed" for result in plain_results.values()) > 100, "the comparison itself does not work"
    assert [name for name, result in view_results.items() if result == "hung"] == []
    different = {n: (view_results[n], plain_results[n]) for n in names if view_results[n] != plain_results[n]}
    assert not different, "view against plain file: " + repr(different)
