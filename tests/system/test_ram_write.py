# SPDX-License-Identifier: GPL-2.0-or-later
"""What clients write to volatile overlays lies in RAM first: within its budget, and as safe from our own processes as on disk."""

import hashlib
import os
import random
import subprocess

import pytest
from support import system
from support.files import MIB, make_image

SIZE = 96 * MIB


@pytest.fixture
def site(root):
    root.ok("image", "add", "win", make_image(root.files / "base.raw", SIZE))
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win")
    root.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "win")
    return root


def overlay(root, client="pc01"):
    return next(row for row in root.json("overlay", "list")["overlays"] if row["client"] == client)


def memory(root):
    return root.json("status")["ram_write"]


def write(path, off, length, seed):
    """Random bytes, in requests as clients send them; returns what was written."""
    data = random.Random(seed).randbytes(length)
    fd = os.open(path, os.O_RDWR)
    try:
        for at in range(0, length, 65536):
            os.pwrite(fd, data[at : at + 65536], off + at)
    finally:
        os.close(fd)
    return data


def read(path, off, length):
    with open(path, "rb") as file:
        file.seek(off)
        return file.read(length)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kill_file_system(root):
    pids = set(root.file_system_processes())
    system.kill_all(pids)
    system.wait_until(lambda: not pids & set(root.file_system_processes()), what="diskgate-fs to be dead")


def test_writes_of_a_volatile_client_lie_in_ram(site):
    site.ok("up")
    data = write(site.view("pc01"), 5 * MIB, 3 * MIB, 1)
    row = overlay(site)
    assert row["ram_bytes"] == 3 * MIB == row["overlay_bytes"]
    assert memory(site)["used_bytes"] == 3 * MIB
    assert os.stat(site.path / "overlays/pc01/0.data").st_blocks * 512 < 64 * 1024
    assert read(site.view("pc01"), 5 * MIB, 3 * MIB) == data
    assert "RAM for writes: 3 MiB of" in site.ok("status")


def test_ram_survives_the_death_of_diskgate_fs_over_iscsi(site):
    site.ok("up")
    disk = site.disk("pc01")
    data = random.Random(2).randbytes(4 * MIB)
    disk.write(data, 1 * MIB)
    assert overlay(site)["ram_bytes"] == 4 * MIB
    kill_file_system(site)
    site.ok("up")
    assert overlay(site)["ram_bytes"] == 4 * MIB
    assert disk.read_all()[1 * MIB : 5 * MIB] == data


def test_small_budget_spills_and_loses_nothing(site):
    site.ok("set", "ram.write_bytes", "8M")
    site.ok("up")
    before = digest(site.view("pc02"))
    data = [write(site.view("pc01"), n * 20 * MIB, 12 * MIB, n) for n in range(4)]
    system.wait_until(lambda: memory(site)["used_bytes"] <= 8 * MIB * 70 // 100, what="room in RAM")
    told = memory(site)
    assert told["spilled_bytes"] > 0 and told["limit_bytes"] == 8 * MIB
    for n in range(4):
        assert read(site.view("pc01"), n * 20 * MIB, 12 * MIB) == data[n]
    assert digest(site.view("pc02")) == before


def test_quota_of_one_client_leaves_the_others_alone(site):
    site.ok("client", "set", "pc01", "--ram-write", "1M")
    site.ok("up")
    write(site.view("pc01"), 0, 4 * MIB, 1)
    write(site.view("pc02"), 0, 4 * MIB, 2)
    assert overlay(site, "pc01")["ram_bytes"] <= MIB
    assert overlay(site, "pc02")["ram_bytes"] == 4 * MIB


def test_down_brings_ram_to_disk_and_up_goes_on(site):
    site.ok("up")
    data = write(site.view("pc01"), 7 * MIB, 5 * MIB, 3)
    site.ok("down")
    assert not [m for m in system.mounts_below(str(site.path))]
    assert not (site.path / "run/ram").exists()
    site.ok("up")
    assert read(site.view("pc01"), 7 * MIB, 5 * MIB) == data
    assert overlay(site)["ram_bytes"] == 0


def test_kept_clients_do_not_use_ram(site):
    site.ok("client", "set", "pc01", "--mode", "kept")
    site.ok("up")
    write(site.view("pc01"), 0, 2 * MIB, 1)
    assert overlay(site)["ram_bytes"] == 0


def test_client_that_becomes_kept_has_its_data_on_disk(site):
    site.ok("up")
    data = write(site.view("pc01"), 0, 2 * MIB, 4)
    site.ok("client", "set", "pc01", "--mode", "kept")
    assert overlay(site)["ram_bytes"] == 0
    assert read(site.view("pc01"), 0, 2 * MIB) == data


def test_reset_frees_ram(site):
    site.ok("up")
    write(site.view("pc01"), 0, 2 * MIB, 5)
    site.ok("client", "reset", "pc01")
    system.wait_until(lambda: memory(site)["used_bytes"] == 0, what="the memory to be free")


def test_memory_that_was_taken_away_closes_the_disk_until_the_next_boot(site):
    site.ok("up")
    write(site.view("pc01"), 0, 2 * MIB, 6)
    kill_file_system(site)
    subprocess.run(["umount", str(site.path / "run/ram")], check=True, timeout=30)
    site.run("up")
    assert overlay(site)["state"] == "lost"
    assert overlay(site, "pc02")["state"] == "ready"
    site.ok("client", "reset", "pc01")
    assert overlay(site)["state"] == "ready"


def test_down_after_a_death_says_that_memory_is_given_up(site):
    site.ok("up")
    write(site.view("pc01"), 0, 2 * MIB, 7)
    kill_file_system(site)
    assert "given up" in site.ok("down")
    site.run("up")
    assert overlay(site)["state"] == "lost"


def test_ram_off_writes_to_disk(site):
    site.ok("set", "ram.write_bytes", "0")
    site.ok("up")
    write(site.view("pc01"), 0, 2 * MIB, 8)
    assert overlay(site)["ram_bytes"] == 0
    site.ok("set", "ram.write_bytes", "64M")
    data = write(site.view("pc01"), 4 * MIB, 2 * MIB, 9)
    assert overlay(site)["ram_bytes"] == 2 * MIB
    assert read(site.view("pc01"), 4 * MIB, 2 * MIB) == data
    site.fails("set", "ram.write_bytes", "much")
