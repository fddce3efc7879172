# SPDX-License-Identifier: GPL-2.0-or-later
"""Two roots on one machine never disturb each other."""

import contextlib
import http.server
import os
import threading
import time

from support.files import MIB, make_image
from support.iscsi import file_hash


def fill(root, seed):
    image = make_image(root.files / "base.raw", 2 * MIB, seed=seed)
    root.ok("image", "add", "win", image)
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", "kept")
    root.ok("up")
    return image


def test_same_names_in_two_roots_are_two_disks(make_root):
    one, two = make_root(), make_root()
    images = [fill(one, 1), fill(two, 2)]
    assert one.disk("pc01").hash() == file_hash(images[0])
    assert two.disk("pc01").hash() == file_hash(images[1])
    assert one.target("pc01")["iqn"] != two.target("pc01")["iqn"]
    one.disk("pc01").write(b"\x01" * 4096, 0)
    assert two.disk("pc01").hash() == file_hash(images[1])


def test_down_up_and_removal_in_one_root_leave_the_other_running(make_root):
    one, two = make_root(), make_root()
    fill(one, 1)
    image = fill(two, 2)
    running = two.file_system_processes(), two.tgt_processes()
    fd = os.open(two.view("pc01"), os.O_RDWR)
    try:
        one.ok("client", "remove", "pc01")
        one.ok("down")
        one.ok("up")
        one.ok("down")
        assert (two.file_system_processes(), two.tgt_processes()) == running
        assert os.pread(fd, 4096, 0) == image.read_bytes()[:4096]
    finally:
        os.close(fd)
    assert two.disk("pc01").hash() == file_hash(image)


def test_up_names_a_taken_port_and_leaves_nothing_running(make_root):
    one, two = make_root(), make_root()
    image = fill(one, 1)
    two.ok("set", "gateway.port", one.port)
    other = make_image(two.files / "base.raw", 2 * MIB, seed=3)
    two.ok("image", "add", "win", other)
    two.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win")
    said = two.fails("up")
    assert str(one.port) in said
    two.ok("set", "gateway.port", two.port)
    assert two.leftovers() == []
    assert one.disk("pc01").hash() == file_hash(image)


def hold_default_port():
    """A server on it; None where somebody else keeps it for good, which is as well. Another test, or a quickstart, may have it for a while."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            return http.server.HTTPServer(("127.0.0.1", 8080), http.server.BaseHTTPRequestHandler)
        time.sleep(0.2)
    return None


def test_up_leaves_the_default_boot_port_to_another_program(root):
    root.ok("image", "add", "win", make_image(root.files / "base.raw", MIB))
    root.ok("set", "boot.port", "8080")
    with contextlib.ExitStack() as stack:
        if holder := hold_default_port():
            server = stack.enter_context(holder)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        assert "8080" in root.ok("up")
        assert root.json("status")["problems"] == []
        root.ok("down")
