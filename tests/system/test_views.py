# SPDX-License-Identifier: GPL-2.0-or-later
"""What clients get: their image's bytes, their own writes, nobody else's."""

import os
import random

import pytest
from support.files import KIB, MIB, make_image, make_partitioned, make_vhd
from support.iscsi import Disk, file_hash


@pytest.fixture
def image(root):
    return make_image(root.files / "base.raw")


def two_clients(root, image, mode="volatile"):
    root.ok("image", "add", "win", image)
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", mode)
    root.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "win", "--mode", mode)
    root.ok("up")


def test_client_reads_its_image_over_iscsi(root, image):
    two_clients(root, image)
    assert root.disk("pc01").size() == image.stat().st_size
    assert root.disk("pc01").hash() == root.disk("pc02").hash() == file_hash(image)


@pytest.mark.parametrize("extra", [1, 511, 513])
def test_image_of_odd_size_is_padded_with_zeros_to_a_sector(root, extra):
    image = make_image(root.files / "odd.raw", 2 * MIB + extra)
    two_clients(root, image)
    size = (image.stat().st_size + 511) // 512 * 512
    assert root.disk("pc01").size() == size
    assert root.disk("pc01").hash() == file_hash(image, size)


def test_write_into_the_padded_sector_is_kept_and_leaves_the_image_alone(root):
    image = make_image(root.files / "odd.raw", 2 * MIB + 100)
    before = file_hash(image)
    two_clients(root, image)
    disk = root.disk("pc01")
    disk.write(b"\xab" * 512, 2 * MIB)
    assert disk.read_all()[-512:] == b"\xab" * 512
    assert file_hash(image) == before


def test_fixed_vhd_is_served_as_its_disk(root, image):
    vhd = make_vhd(image, root.files / "disk.vhd")
    two_clients(root, vhd)
    assert root.disk("pc01").hash() == file_hash(vhd, vhd.stat().st_size - 512)


def test_format_is_what_the_file_is_not_what_its_name_says(root, image):
    vhd = make_vhd(image, root.files / "disk.raw")
    two_clients(root, vhd)
    assert root.disk("pc01").size() == vhd.stat().st_size - 512


@pytest.mark.parametrize("mode", ["volatile", "kept"])
def test_writes_of_one_client_reach_neither_the_image_nor_another_client(root, image, mode):
    two_clients(root, image, mode)
    before = file_hash(image)
    expected = bytearray(image.read_bytes())
    source = random.Random(3)
    disk = root.disk("pc01")
    for _ in range(8):
        length = 512 * source.randrange(1, 300)
        offset = 512 * source.randrange(0, (len(expected) - length) // 512)
        data = source.randbytes(length)
        disk.write(data, offset)
        expected[offset : offset + length] = data
    assert disk.read_all() == expected
    assert root.disk("pc02").hash() == before
    assert file_hash(image) == before


def test_discarded_bytes_read_as_zeros(root, image):
    two_clients(root, image)
    expected = bytearray(image.read_bytes())
    disk = root.disk("pc01")
    for offset, length in [(0, 64 * KIB), (MIB + 512, 512), (2 * MIB + 1024, 7 * KIB + 512)]:
        disk.discard(offset, length)
        expected[offset : offset + length] = bytes(length)
    assert disk.read_all() == expected


@pytest.mark.parametrize("extra", [0, 1, 513])
def test_copy_that_leaves_out_unmapped_blocks_is_the_whole_disk(root, extra):
    image = make_image(root.files / "base.raw", 4 * MIB + extra)
    two_clients(root, image)
    disk = root.disk("pc01")
    disk.write(b"\x12" * 512, MIB + 512)
    disk.discard(2 * MIB + 512, 100 * KIB)
    disk.copy_data(root.files / "copy.raw")
    assert (root.files / "copy.raw").read_bytes() == disk.read_all()


def test_kept_disk_survives_down_and_up(root, image):
    two_clients(root, image, "kept")
    root.disk("pc01").write(b"\x11" * 8192, 12288)
    written = root.disk("pc01").hash()
    assert written != file_hash(image)
    root.ok("down")
    root.ok("up")
    assert root.disk("pc01").hash() == written
    assert root.disk("pc02").hash() == file_hash(image)


@pytest.mark.parametrize("mode", ["volatile", "kept"])
def test_client_reset_gives_the_image_back(root, image, mode):
    two_clients(root, image, mode)
    root.disk("pc01").write(b"\x22" * MIB, 0)
    root.disk("pc02").write(b"\x33" * MIB, 0)
    untouched = root.disk("pc02").hash()
    root.ok("client", "reset", "pc01")
    assert root.disk("pc01").hash() == file_hash(image)
    assert root.disk("pc02").hash() == untouched


def test_two_slots_are_two_luns_with_their_own_writes(root, image):
    data = make_image(root.files / "games.raw", 4 * MIB, seed=5)
    root.ok("image", "add", "games", data, "--data")
    two_clients(root, image)
    root.ok("client", "link", "pc01", "games", "--slot", "1")
    assert root.target("pc01", 1)["lun"] == root.target("pc01", 0)["lun"] + 1
    assert root.target("pc01", 1)["iqn"] == root.target("pc01", 0)["iqn"]
    assert root.disk("pc01", 1).hash() == file_hash(data)
    root.disk("pc01", 1).write(b"\x44" * 4096, 0)
    assert root.disk("pc01", 0).hash() == file_hash(image)
    assert root.disk("pc01", 1).hash() != file_hash(data)
    root.ok("client", "unlink", "pc01", "--slot", "1")
    assert [row["slot"] for row in root.targets() if row["client"] == "pc01"] == [0]


def test_image_view_shows_the_image(root, image):
    two_clients(root, image)
    view = root.mnt / "images" / "win" / "v1" / "disk.img"
    assert view.stat().st_size == image.stat().st_size
    assert file_hash(view) == file_hash(image)
    assert os.readlink(root.mnt / "images" / "win" / "current") == "v1"
    assert file_hash(root.mnt / "images" / "win" / "current" / "disk.img") == file_hash(image)


def test_image_view_cannot_be_written(root, image):
    two_clients(root, image)
    with pytest.raises(OSError):
        os.open(root.mnt / "images" / "win" / "v1" / "disk.img", os.O_RDWR)


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_partition_views_show_what_dd_cuts_out(root, label):
    image = root.files / "parts.raw"
    parts = make_partitioned(image, label=label)
    two_clients(root, image)
    content = image.read_bytes()
    for number, (offset, length) in enumerate(parts, 1):
        for view in (root.mnt / "clients" / "pc01" / f"disk0.p{number}.img", root.mnt / "images/win/v1" / f"p{number}.img"):
            assert view.stat().st_size == length
            assert view.read_bytes() == content[offset : offset + length]


def test_partition_view_shows_what_the_client_wrote(root):
    image = root.files / "parts.raw"
    offset = make_partitioned(image)[1][0]
    two_clients(root, image)
    root.disk("pc01").write(b"\x55" * 4096, offset + 8192)
    with open(root.mnt / "clients/pc01/disk0.p2.img", "rb") as view:
        assert os.pread(view.fileno(), 4096, 8192) == b"\x55" * 4096
    with open(root.mnt / "clients/pc02/disk0.p2.img", "rb") as view:
        assert os.pread(view.fileno(), 4096, 8192) != b"\x55" * 4096


def test_extended_attributes_tell_image_version_mode_and_overlay_bytes(root, image):
    two_clients(root, image, "kept")
    view = root.view("pc01")

    def attribute(name):
        return os.getxattr(view, f"user.diskgate.{name}").decode()

    assert attribute("image") == "win"
    assert attribute("version") == "1"
    assert attribute("mode") == "kept"
    before = int(attribute("overlay_bytes"))
    root.disk("pc01").write(b"\x66" * MIB, 0)
    assert int(attribute("overlay_bytes")) >= before + MIB
    assert {"user.diskgate.image", "user.diskgate.version", "user.diskgate.mode"} <= set(os.listxattr(view))


def test_clients_and_images_come_and_go_while_it_runs(root, image):
    two_clients(root, image)
    fs_before = set(root.file_system_processes())
    tgt_before = set(root.tgt_processes())
    other = make_image(root.files / "other.raw", 3 * MIB, seed=9)
    root.ok("image", "add", "linux", other)
    assert file_hash(root.mnt / "images/linux/v1/disk.img") == file_hash(other)
    root.ok("client", "add", "pc03", "--mac", "52:54:00:00:00:03", "--image", "linux")
    assert root.disk("pc03").hash() == file_hash(other)
    root.ok("client", "remove", "pc03")
    assert "pc03" not in os.listdir(root.mnt / "clients")
    assert {row["client"] for row in root.targets()} == {"pc01", "pc02"}
    root.ok("image", "remove", "linux")
    assert os.listdir(root.mnt / "images") == ["win"]
    assert set(root.file_system_processes()) == fs_before
    assert set(root.tgt_processes()) == tgt_before
    assert root.disk("pc01").hash() == file_hash(image)


def test_relinked_client_reads_the_other_image(root, image):
    two_clients(root, image)
    other = make_image(root.files / "other.raw", 3 * MIB, seed=9)
    root.ok("image", "add", "linux", other)
    root.disk("pc01").write(b"\x77" * 4096, 0)
    root.ok("client", "link", "pc01", "linux")
    assert root.disk("pc01").hash() == file_hash(other)
    assert root.disk("pc02").hash() == file_hash(image)


def test_renamed_client_keeps_its_disk(root, image):
    two_clients(root, image, "kept")
    root.disk("pc01").write(b"\x88" * 4096, 0)
    written = root.disk("pc01").hash()
    root.ok("client", "rename", "pc01", "front-desk")
    assert root.disk("front-desk").hash() == written
    assert root.view("front-desk").exists() and not root.view("pc01").exists()


def test_wrong_password_is_refused(root, image):
    two_clients(root, image)
    target = root.target("pc01")
    assert not Disk(target | {"chap_password": "wrong-password-1"}, root.files).can_log_in()
    assert not Disk(target | {"chap_password": None}, root.files).can_log_in()
    assert Disk(target, root.files).can_log_in()


def test_password_of_another_client_is_refused(root, image):
    two_clients(root, image)
    target, other = root.target("pc01"), root.target("pc02")
    stolen = {key: other[key] for key in ("chap_user", "chap_password")}
    assert not Disk(target | stolen, root.files).can_log_in()


def test_several_shards_serve_their_clients(make_root):
    root = make_root(**{"gateway_shards": 2})
    image = make_image(root.files / "base.raw", 2 * MIB)
    two_clients(root, image)
    assert len(root.tgt_processes()) == 2
    assert {row["portal"].rpartition(":")[2] for row in root.targets()} <= {str(root.port), str(root.port + 1)}
    for client in ("pc01", "pc02"):
        assert root.disk(client).hash() == file_hash(image)


def test_up_and_down_are_idempotent(root, image):
    root.ok("down")
    two_clients(root, image)
    before = root.file_system_processes(), root.tgt_processes()
    root.ok("up")
    assert (root.file_system_processes(), root.tgt_processes()) == before
    root.ok("down")
    root.ok("down")
    assert root.leftovers() == []
