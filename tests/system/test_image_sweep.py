# SPDX-License-Identifier: GPL-2.0-or-later
"""A conversion that was killed leaves a file below ROOT/images: it goes away by itself, and nothing else does."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from support import system
from support.files import MIB, make_image

TEMP = ".v1.raw.tmp"


@pytest.fixture
def site(make_root):
    if not shutil.which("qemu-img"):
        pytest.skip("qemu-img is not installed")
    root = make_root()
    make_image(root.files / "big.raw", 192 * MIB)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", root.files / "big.raw", root.files / "big.qcow2"], check=True, timeout=120)
    return root


class Conversion:
    """An `image add` that is held in the middle of its work; qemu-img, its child, is not, and ends when it ends."""

    def __init__(self, site, name):
        self.file = site.path / "images" / name / TEMP
        self.process = subprocess.Popen(site.command("image", "add", name, site.files / "big.qcow2"),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not self.file.exists() and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        self.process.send_signal(signal.SIGSTOP)
        assert self.file.exists() and self.process.poll() is None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)


@pytest.fixture
def convert(site):
    running = []

    def start(name):
        running.append(Conversion(site, name))
        return running[-1]

    yield start
    for conversion in running:
        if conversion.process.poll() is None:
            conversion.kill()


def test_up_deletes_what_a_killed_conversion_left(site, convert):
    conversion = convert("win")
    conversion.kill()
    assert conversion.file.exists()
    told = site.ok("up")
    assert f"deleted 'images/win/{TEMP}'" in told and "was killed" in told
    assert os.listdir(site.path / "images") == []
    assert "deleted" not in site.ok("up")


def test_next_image_add_deletes_it_and_takes_its_folder(site, convert):
    convert("win").kill()
    done = site.run("image", "add", "win", site.files / "big.qcow2")
    assert done.returncode == 0 and f"images/win/{TEMP}'" in done.stderr
    assert os.listdir(site.path / "images") == ["win"]
    assert os.listdir(site.path / "images" / "win") == ["v1.raw"]


def test_daemon_deletes_it_when_it_starts(site, convert):
    site.ok("up")
    [pid] = [pid for pid, text in system.processes_of(str(site.path)).items() if "diskgated" in text.split(" ")[0]]
    os.kill(pid, signal.SIGKILL)
    conversion = convert("win")
    conversion.kill()
    site.ok("target", "sync")
    system.wait_until(lambda: not conversion.file.exists(), what="the file to be deleted")
    assert f"deleted 'images/win/{TEMP}'" in (site.path / "run" / "diskgated.log").read_text()


def test_file_of_a_conversion_that_goes_on_is_left_alone(site, convert):
    conversion = convert("win")
    assert "deleted" not in site.ok("up")
    make_image(site.files / "other.raw", MIB)
    assert "deleted" not in site.run("image", "add", "other", site.files / "other.raw", "--copy").stderr
    assert conversion.file.exists()
    conversion.process.send_signal(signal.SIGCONT)
    assert conversion.process.wait(timeout=120) == 0
    site.ok("image", "check", "win")
    assert os.listdir(site.path / "images" / "win") == ["v1.raw"]


def test_nothing_else_below_images_is_deleted(site, convert):
    convert("win").kill()
    images = site.path / "images"
    (images / "mine").mkdir()
    (images / "mine" / "notes.tmp").write_text("mine")
    (images / "mine" / ".v2.raw.tmp").write_text("mine")
    (images / "linked").mkdir()
    (images / "linked" / TEMP).symlink_to(site.files / "big.raw")
    (images / "away").symlink_to(site.files)
    (site.files / TEMP).write_text("not in the root")
    (images / "win" / "beside").write_text("mine")
    site.ok("up")
    assert sorted(os.listdir(images / "mine")) == [".v2.raw.tmp", "notes.tmp"]
    assert (images / "linked" / TEMP).is_symlink() and (site.files / "big.raw").exists() and (site.files / TEMP).exists()
    assert os.listdir(images / "win") == ["beside"]
