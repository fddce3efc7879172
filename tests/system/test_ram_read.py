# SPDX-License-Identifier: GPL-2.0-or-later
"""What clients read when they boot is learnt, loaded at the next start and stays in RAM, once for all of them."""

import os
import random
import re

import pytest
from support import system
from support.control import EXTENT, ask, read_extents, version
from support.files import MIB, make_image

SIZE = 64 * MIB


@pytest.fixture
def site(root):
    root.ok("image", "add", "win", make_image(root.files / "base.raw", SIZE))
    for number in range(1, 4):
        root.ok("client", "add", f"pc0{number}", "--mac", f"52:54:00:00:00:0{number}", "--image", "win")
    root.ok("up")
    return root


def locked_kib(root):
    worker = next(pid for pid in root.file_system_processes() if system.user_of(pid) != 0)
    with open(f"/proc/{worker}/status") as file:
        return int(re.search(r"VmLck:\s+(\d+) kB", file.read())[1])


def boot(root, client, numbers):
    """What a boot is for the data plane: the client's reads after the boot event, until the next one."""
    ask(root, cmd="boot", client=client)
    read_extents(root.view(client), numbers)
    ask(root, cmd="boot", client=client)


def test_boot_is_learnt_and_locked_in_ram(site):
    boot(site, "pc01", range(100, 140))
    told = version(site)
    assert told["boots"] == 1 and told["boot_extents"] == 40 and told["ram_bytes"] == 40 * EXTENT
    assert locked_kib(site) >= 40 * 64
    shown = site.json("image", "show", "win")["memory"][0]
    assert shown["ram_bytes"] == 40 * EXTENT and shown["hits"] >= 40
    assert "RAM for boot sets: 2.5 MiB of" in site.ok("status")


def test_boot_set_survives_down_and_rename_and_is_loaded_at_start(site):
    boot(site, "pc01", range(200, 240))
    assert version(site)["ram_bytes"] == 40 * EXTENT
    site.ok("down")
    site.ok("image", "rename", "win", "other")
    site.ok("up")
    assert version(site)["ram_bytes"] == 40 * EXTENT
    assert locked_kib(site) >= 40 * 64


def test_what_one_boot_of_many_reads_is_not_loaded(site):
    boot(site, "pc01", range(0, 40))
    boot(site, "pc02", list(range(0, 40)) + list(range(500, 600)))
    boot(site, "pc03", range(0, 40))
    told = version(site)
    assert told["boots"] == 3 and told["boot_extents"] == 140 and told["ram_bytes"] == 40 * EXTENT


def test_budgets_of_all_and_of_an_image_hold(site):
    boot(site, "pc01", range(0, 100))
    assert version(site)["ram_bytes"] == 100 * EXTENT
    site.ok("image", "set", "win", "--ram-cache", "1M")
    assert version(site)["ram_bytes"] == MIB
    site.ok("image", "set", "win", "--ram-cache", "0")
    site.ok("set", "ram.read_bytes", "2M")
    assert version(site)["ram_bytes"] == 2 * MIB
    site.ok("set", "ram.read_bytes", "0")
    assert version(site)["ram_bytes"] == 0
    assert locked_kib(site) < 1024


def test_a_look_at_a_disk_is_no_boot(site):
    boot(site, "pc01", range(0, 8))
    assert version(site)["boots"] == 0


def test_writes_change_nothing_in_the_boot_set(site):
    boot(site, "pc01", range(0, 40))
    site.ok("client", "reset", "pc01")
    data = random.Random(1).randbytes(40 * EXTENT)
    with open(site.view("pc01"), "r+b") as file:
        file.write(data)
    with open(site.view("pc01"), "rb") as file:
        assert file.read(len(data)) == data
    with open(site.files / "base.raw", "rb") as base, open(site.view("pc02"), "rb") as other:
        assert base.read(4 * MIB) == other.read(4 * MIB)


def test_damaged_boot_set_is_learnt_anew(site):
    boot(site, "pc01", range(0, 40))
    version(site)
    site.ok("down")
    (file,) = (site.path / "bootsets").iterdir()
    content = bytearray(file.read_bytes())
    content[60] ^= 1
    file.write_bytes(content)
    site.ok("up")
    assert version(site)["boots"] == 0
    boot(site, "pc01", range(0, 40))
    assert version(site)["boots"] == 1
    assert "check sum" in (site.path / "run/fs.log").read_text()


def test_removed_image_lets_go_of_its_file(site):
    boot(site, "pc01", range(0, 40))
    assert version(site)["ram_bytes"] > 0
    for number in range(1, 4):
        site.ok("client", "remove", f"pc0{number}")
    site.ok("image", "remove", "win")
    assert locked_kib(site) == 0
    base = str(site.files / "base.raw")
    for pid in site.file_system_processes():
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        with open(f"/proc/{pid}/maps") as maps:
            assert base not in links and base not in maps.read()
