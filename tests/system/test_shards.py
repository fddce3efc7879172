# SPDX-License-Identifier: GPL-2.0-or-later
"""Several tgtd processes: clients are spread evenly and stay where they are as long as they run."""

import collections
import contextlib
import subprocess

import pytest
from support import boot, system
from support.files import MIB, make_image
from support.iscsi import file_hash

CLIENTS = 6


@pytest.fixture
def site(root):
    root.ok("image", "add", "win", make_image(root.files / "base.raw", 4 * MIB))
    for number in range(CLIENTS):
        root.ok("client", "add", f"pc{number}", "--mac", f"52:54:00:00:01:0{number}", "--image", "win")
    return root


def ports(root):
    return {row["client"]: int(row["portal"].rpartition(":")[2]) - root.port for row in root.targets()}


@contextlib.contextmanager
def session(root, client):
    """A PC that runs: one command is in flight for as long as the test wants."""
    child = subprocess.Popen(["qemu-io", "-f", "raw", root.disk(client).url], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, text=True)
    try:
        system.wait_until(lambda: root.target(client)["sessions"], what="the session")
        yield
    finally:
        child.communicate("quit\n", timeout=30)


def test_clients_are_spread_evenly_and_boot_from_their_shard(site):
    site.ok("set", "gateway.shards", 3)
    site.ok("up")
    assert set(collections.Counter(ports(site).values()).values()) == {2}
    for number in range(CLIENTS):
        text = boot.script(site, f"52:54:00:00:01:0{number}")
        assert f"::{site.port + ports(site)[f'pc{number}']}:" in text


def test_more_shards_move_only_clients_that_are_off(site):
    site.ok("up")
    assert set(ports(site).values()) == {0}
    running = next(f"pc{n}" for n in range(CLIENTS) if site.client_ids()[f"pc{n}"] % 2)
    with session(site, running):
        said = site.ok("set", "gateway.shards", 2) + site.ok("up")
        now = ports(site)
        assert now[running] == 0 and site.target(running)["sessions"]
        assert all(now[f"pc{n}"] == site.client_ids()[f"pc{n}"] % 2 for n in range(CLIENTS) if f"pc{n}" != running), said
    system.wait_until(lambda: not site.target(running)["sessions"], what="the end of the session")
    site.ok("target", "sync")
    assert ports(site)[running] == 1
    for client in (running, "pc0", "pc5"):
        assert site.disk(client).hash() == file_hash(site.files / "base.raw")


def test_fewer_shards_drain_and_end(site):
    site.ok("set", "gateway.shards", 2)
    site.ok("up")
    site.ok("set", "gateway.shards", 1)
    site.ok("up")
    assert set(ports(site).values()) == {0}
    assert len(site.tgt_processes()) == 1
