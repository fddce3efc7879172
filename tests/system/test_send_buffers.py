# SPDX-License-Identifier: GPL-2.0-or-later
"""net.ipv4.tcp_wmem belongs to the machine: roots raise it together, and the last one that goes puts it back. In a network namespace, which
has numbers of its own."""

import os
import shutil
import signal
import subprocess

import pytest
from support import netboot, system
from support.files import MIB, make_image
from support.root import LIMIT_S

SMALL = "4096 16384 4194304"
RAISED = "4096 2097152 16777216"


@pytest.fixture
def network():
    for name in ("ip", "nsenter"):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
    made = netboot.Network(f"dgw{os.getpid()}")
    write(made, SMALL)
    yield made
    faults = made.close()
    assert not faults, faults


@pytest.fixture
def roots(programs, network):
    made = []
    try:
        for _ in range(2):
            root = netboot.NetRoot(programs, LIMIT_S - 15, network)
            made.append(root)
            root.init()
            root.ok("image", "add", "win", make_image(root.files / "base.raw", MIB))
            root.ok("client", "add", "pc1", "--mac", "52:54:00:00:00:01", "--image", "win")
        yield made
    finally:
        faults = [fault for root in made for fault in root.close()]
    assert not faults, faults


def write(network, text):
    subprocess.run([*network.inside(), "sh", "-c", f"echo '{text}' >/proc/sys/net/ipv4/tcp_wmem"], check=True, timeout=30)


def numbers(network):
    done = subprocess.run([*network.inside(), "cat", "/proc/sys/net/ipv4/tcp_wmem"], check=True, capture_output=True, text=True, timeout=30)
    return " ".join(done.stdout.split())


def test_up_raises_and_down_puts_back(network, roots):
    root = roots[0]
    assert f"net.ipv4.tcp_wmem raised to '{RAISED}'" in root.ok("up")
    assert numbers(network) == RAISED
    assert "tcp_wmem" not in root.ok("up")
    assert f"net.ipv4.tcp_wmem is '{SMALL}' again" in root.ok("down")
    assert numbers(network) == SMALL


@pytest.mark.parametrize("first", [0, 1], ids=["who raised it goes first", "who raised it goes last"])
def test_last_root_that_goes_puts_back(network, roots, first):
    for root in roots:
        root.ok("up")
    going, staying = roots[first], roots[1 - first]
    assert f"net.ipv4.tcp_wmem stays as it is for the root '{staying.path}'" in going.ok("down")
    assert numbers(network) == RAISED
    assert f"net.ipv4.tcp_wmem is '{SMALL}' again" in staying.ok("down")
    assert numbers(network) == SMALL


def test_higher_wish_of_a_second_root_is_put_back_to_what_was_before_the_first(network, roots):
    higher = "8192 4194304 33554432"
    roots[1].ok("set", "gateway.tcp_wmem", higher)
    for root in roots:
        root.ok("up")
    assert numbers(network) == higher
    for root in roots:
        root.ok("down")
    assert numbers(network) == SMALL


def test_root_that_was_killed_keeps_nothing_raised(network, roots):
    for root in roots:
        root.ok("up")
    for process in (roots[0].daemon_processes, roots[0].tgt_processes, roots[0].file_system_processes):
        for pid in process():
            os.kill(pid, signal.SIGKILL)
    system.wait_until(lambda: not roots[0].tgt_processes(), what="the end of the processes")
    roots[1].ok("down")
    assert numbers(network) == SMALL


def test_numbers_that_somebody_else_set_stay(network, roots):
    for root in roots:
        root.ok("up")
    own = "4096 3000000 20000000"
    write(network, own)
    for root in roots:
        assert "tcp_wmem" not in root.ok("down")
    assert numbers(network) == own


def test_numbers_that_are_large_enough_are_nobodys(network, roots):
    large = "4096 3000000 20000000"
    write(network, large)
    for root in roots:
        assert "tcp_wmem" not in root.ok("up")
    for root in roots:
        assert "tcp_wmem" not in root.ok("down")
    assert numbers(network) == large
