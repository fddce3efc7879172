# SPDX-License-Identifier: GPL-2.0-or-later
"""What a new user meets in the first hour: notes that say what is missing, and no warning without a reason."""

import shutil

import pytest
from support.files import MIB, make_image

MAC = "52:54:00:00:00:01"


@pytest.fixture
def site(make_root):
    root = make_root()
    root.ok("image", "add", "win", make_image(root.files / "base.raw", 4 * MIB))
    return root


def test_kept_client_that_never_wrote_has_nothing_to_lose(site):
    site.ok("client", "add", "pc1", "--mac", MAC, "--image", "win", "--mode", "kept")
    site.ok("up")
    assert site.disk("pc1").size() == 4 * MIB
    site.ok("down")
    site.ok("client", "remove", "pc1")


def test_kept_client_that_wrote_is_not_removed_unasked(site):
    site.ok("client", "add", "pc1", "--mac", MAC, "--image", "win", "--mode", "kept")
    site.ok("up")
    site.disk("pc1").write(b"\x5a" * 4096, 8192)
    assert "kept changes" in site.fails("client", "remove", "pc1")
    site.ok("down")
    assert "kept changes" in site.fails("client", "remove", "pc1")


def test_auto_without_a_template_is_noted_when_it_is_set(site):
    note = "nothing says what PCs get"
    assert note in site.run("set", "clients.unknown", "auto").stderr
    assert site.run("set", "gateway.shards", "1").stderr == ""
    assert site.run("set", "clients.template_image", "win").stderr == ""
    assert site.run("set", "clients.unknown", "ask").stderr == ""
    assert site.run("set", "clients.unknown", "auto").stderr == ""
    assert note in site.run("set", "clients.template_image", "--default").stderr


@pytest.mark.parametrize(("name", "format", "is_noted"), [("win.qcow2", None, True), ("win.VHD", "raw", True), ("win.raw", None, False),
                                                          ("win.img", None, False), ("win", "raw", False), ("win.qcow2", "qcow2", False)])
def test_export_under_the_name_of_another_format_is_noted(site, name, format, is_noted):
    if format == "qcow2" and not shutil.which("qemu-img"):
        pytest.skip("qemu-img is not installed")
    done = site.run("image", "export", "win", site.files / name, *(["--format", format] if format else []), "-n")
    assert done.returncode == 0
    assert (f"{name}' is called ." in done.stderr) == is_noted
