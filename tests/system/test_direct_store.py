# SPDX-License-Identifier: GPL-2.0-or-later
"""The store "diskgate" in a real tgtd, alone: this test answers in place of diskgate-fs, and a byte's value tells where it came from."""

import contextlib
import fcntl
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

import pytest
from support.direct_server import BASE, BLOCK, DATA, IQN, ON, PRESENT, RECORD, RING, VIEW, Board, Disk, Server, Tgtd, live_map
from support.iscsi_raw import HEAD, ORDERED, SIMPLE, Session, cdb_read, cdb_write
from support.system import wait_until

MIB = 1 << 20
SIZE = 8 * MIB


@pytest.fixture
def library(programs):
    path = programs.build / "fusefs" / "tgt" / "libdiskgate-store.so"
    assert path.exists(), f"'{path}' is not built"
    return path


@pytest.fixture
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="diskgate-test-", dir=os.environ.get("DISKGATE_TEST_TMP", "/var/tmp")))
    (path / "mnt" / "by-id").mkdir(parents=True)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def server(folder):
    one = Server(folder)
    yield one
    if one.listener.fileno() >= 0:
        one.die()


@pytest.fixture
def tgtd(folder, server, library):
    """Whatever a test does to it, it must be there at the end."""
    one = Tgtd(folder, library)
    yield one
    assert one.stop(), one.said()


@pytest.fixture
def make_disk(folder, server):
    def make(size=SIZE, **how):
        disk = Disk(folder, size, **how)
        server.disks[disk.id] = disk
        return disk

    return make


def reads_of(tgtd, byte, off, length, lun=1):
    tgtd.io(f"read -P {byte} {off} {length}", lun=lun)


# --- where bytes come from -------------------------------------------------------------------------------------------


def test_store_reads_each_block_from_where_the_map_says(tgtd, make_disk):
    disk = make_disk(present=[1, 2, 5], zero=[2, 3])
    tgtd.open(disk.path)
    for block, byte in enumerate((BASE, PRESENT, 0, 0, BASE, PRESENT, BASE)):
        reads_of(tgtd, byte, block * BLOCK, BLOCK)
    assert disk.board.reads >= 7
    before = disk.board.reads
    tgtd.io(*(f"read -P {byte} -s {at} -l {BLOCK} 0 {7 * BLOCK}" for at, byte in ((0, BASE), (BLOCK, PRESENT), (2 * BLOCK, 0), (20480, PRESENT))))
    assert disk.board.reads > before


def test_store_reads_parts_of_blocks_and_sectors(tgtd, make_disk):
    disk = make_disk(present=[1], zero=[2])
    tgtd.open(disk.path)
    tgtd.io(
        f"read -P {BASE} -s 0 -l 1024 3072 1536",
        f"read -P {PRESENT} -s 1024 -l 512 3072 1536",
        f"read -P {PRESENT} 7680 512",
        "read -P 0 8192 512",
        f"read -P {BASE} {SIZE - 512} 512",
    )
    assert disk.board.reads >= 5


def test_store_sees_what_the_map_says_at_the_time_of_the_read(tgtd, make_disk):
    disk = make_disk()
    tgtd.open(disk.path)
    reads_of(tgtd, BASE, 0, BLOCK)
    disk.set_bits(0, present=1, zero=0)
    reads_of(tgtd, PRESENT, 0, BLOCK)
    disk.set_bits(0, present=1, zero=1)
    reads_of(tgtd, 0, 0, BLOCK)


def test_store_reads_zeros_behind_the_base(tgtd, make_disk):
    disk = make_disk(base_bytes=MIB + 512, present=[300])
    tgtd.open(disk.path)
    tgtd.io(
        f"read -P {BASE} -s 0 -l 4608 {MIB - 4096} 8192",
        f"read -P 0 -s 4608 -l 3584 {MIB - 4096} 8192",
        f"read -P 0 {2 * MIB} 65536",
        f"read -P {PRESENT} {300 * BLOCK} 4096",
    )
    assert disk.board.reads >= 4


def test_store_of_a_large_disk_reads_on_both_sides_of_a_leaf(tgtd, make_disk):
    edge = 128 * MIB
    disk = make_disk(size=edge + MIB, present=[edge // BLOCK - 1], zero=[edge // BLOCK])
    tgtd.open(disk.path)
    tgtd.io(
        f"read -P {PRESENT} -s 4096 -l 4096 {edge - 8192} 16384",
        f"read -P 0 -s 8192 -l 4096 {edge - 8192} 16384",
        f"read -P {BASE} -s 12288 -l 4096 {edge - 8192} 16384",
    )
    assert disk.board.reads >= 3


def test_writes_go_to_the_view(tgtd, make_disk, folder):
    disk = make_disk()
    tgtd.open(disk.path)
    tgtd.io("write -P 0x77 4096 4096", "discard 8192 4096", "flush")
    assert (folder / disk.path).read_bytes()[:16384] == bytes([VIEW]) * 4096 + b"\x77" * 4096 + bytes(4096) + bytes([VIEW]) * 4096


def test_long_reads_go_to_the_view(tgtd, make_disk):
    disk = make_disk()
    tgtd.open(disk.path)
    reads_of(tgtd, BASE, 0, 256 << 10)
    before = disk.board.reads
    reads_of(tgtd, VIEW, 0, 512 << 10)
    assert disk.board.read_bytes >= 256 << 10
    tgtd.io(f"read -P {VIEW} 0 {(256 << 10) + 512}", f"read -P {BASE} 0 4096")
    assert disk.board.reads > before


def test_reads_of_many_pieces_go_to_the_view(tgtd, make_disk):
    disk = make_disk(present=range(0, 64, 2))
    tgtd.open(disk.path)
    tgtd.io(f"read -P {PRESENT} -s 0 -l 4096 0 65536", f"read -P {BASE} -s 61440 -l 4096 0 65536")  # 16 pieces
    tgtd.io(f"read -P {VIEW} 0 69632")  # 17


def test_what_is_not_in_memory_is_read_through_the_view(tgtd, make_disk):
    disk = make_disk()
    with open(disk.files["base"], "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    tgtd.open(disk.path)
    reads_of(tgtd, VIEW, 4 * MIB, 65536)
    disk.files["base"].read_bytes()
    reads_of(tgtd, BASE, 4 * MIB, 65536)


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.fixture
def session(tgtd, make_disk):
    disk = make_disk(present=[1])
    tgtd.open(disk.path)
    one = Session(tgtd.port, IQN)
    one.board = disk.board
    yield one
    one.close()


@pytest.mark.parametrize("size", [6, 10, 12, 16])
def test_every_form_of_read_is_answered(session, size):
    assert session.command(cdb_read(size, 8, 16), expected=8192) == (0, bytes([PRESENT]) * 4096 + bytes([BASE]) * 4096, 0)
    assert session.board.reads == 1
    assert session.command(cdb_read(size, SIZE // 512 - 1, 1), expected=512) == (0, bytes([BASE]) * 512, 0)
    assert session.board.reads == 2


def test_read_6_of_no_blocks_is_one_of_256(session):
    assert session.command(cdb_read(6, 0, 0), expected=131072)[1] == bytes([BASE]) * 4096 + bytes([PRESENT]) * 4096 + bytes([BASE]) * 122880
    assert session.board.reads == 1


@pytest.mark.parametrize("size", [10, 12, 16])
def test_a_read_of_nothing_is_nothing(session, size):
    assert session.command(cdb_read(size, 8, 0)) == (0, b"", 0)
    assert session.board.reads == 0


def test_a_length_that_the_initiator_does_not_expect_is_left_to_rdwr(session):
    assert session.command(cdb_read(10, 0, 4), expected=1024) == (0, bytes([VIEW]) * 1024, -1024)
    assert session.command(cdb_read(10, 0, 4), expected=4096)[::2] == (0, 2048)
    assert session.board.reads == 0


def test_reads_behind_the_end_are_refused(session):
    for lba, blocks in ((SIZE // 512, 1), (SIZE // 512 - 1, 2), (0xFFFFFFFF, 2)):
        assert session.command(cdb_read(10, lba, blocks), expected=blocks * 512)[0] == 2
    assert session.command(cdb_read(16, 1 << 55, 8), expected=4096)[0] == 2
    assert session.command(cdb_read(16, (1 << 64) - 1, 8), expected=4096)[0] == 2
    assert session.board.reads == 0


def test_many_commands_at_once_are_all_answered(session):
    kinds = [cdb_read(10, 8 * n, 8) for n in range(40)]
    session.send(*(session.pdu(kind, expected=4096) for kind in kinds))
    answers = {tag: (status, data) for tag, status, data, _ in (session.answer() for _ in kinds)}
    assert [answers[tag][1][:1] for tag in sorted(answers)] == [bytes([PRESENT if n == 1 else BASE]) for n in range(40)]
    assert session.board.reads == 40


@pytest.mark.parametrize("attribute", [ORDERED, HEAD])
def test_ordered_reads_see_the_write_before_them(session, attribute):
    session.send(session.pdu(cdb_write(0, 8), data=b"x" * 4096), *(session.pdu(cdb_read(10, 8, 8), expected=4096, attribute=attribute) for _ in range(20)))
    answers = [session.answer() for _ in range(21)]
    assert {status for _, status, _, _ in answers} == {0}
    assert len({tag for tag, _, _, _ in answers}) == 21


def test_a_client_that_leaves_with_ordered_commands_in_the_queue_ends_nothing(tgtd, make_disk):
    """A command that waits in tgtd's queue must not be done within the loop over that queue: tgtd would go on with what it has freed."""
    disk = make_disk()
    tgtd.open(disk.path)
    for _ in range(30):
        one = Session(tgtd.port, IQN)
        os.kill(tgtd.process.pid, signal.SIGSTOP)
        try:
            write = one.pdu(cdb_write(0, 128), data=b"x" * 65536)
            one.send(write, *(one.pdu(cdb_read(10, 8, 8), expected=4096, attribute=ORDERED) for _ in range(30)))
            one.close()
        finally:
            os.kill(tgtd.process.pid, signal.SIGCONT)
    reads_of(tgtd, BASE, 0, BLOCK)


def burst(rng, session):
    """What a client sends at once: reads, writes and flushes, of any attribute. None of them fails: tgtd 1.0.85 has faults of its own there."""
    pdus, odd = [], rng.choice((0, 0.05, 0.5))
    for _ in range(rng.randrange(1, 50)):
        attribute = rng.choice((ORDERED, HEAD)) if rng.random() < odd else SIMPLE
        lba, blocks, kind = rng.randrange(SIZE // 512 - 64), rng.randrange(1, 64), rng.random()
        if kind < 0.75:
            expected = max(512, blocks * 512 + rng.choice((0, 0, 0, 0, 0, -512, 512, 100)))
            pdus.append(session.pdu(cdb_read(rng.choice((6, 10, 12, 16)), lba, blocks), expected=expected, attribute=attribute))
        elif kind < 0.95:
            pdus.append(session.pdu(cdb_write(lba, blocks), data=bytes(blocks * 512), attribute=attribute))
        else:
            pdus.append(session.pdu(b"\x35" + bytes(9), attribute=attribute))
    text = b"".join(pdus)
    return text[: rng.randrange(len(text))] if rng.random() < 0.3 else text


def leave(rng, session):
    with contextlib.suppress(BlockingIOError, ConnectionError):
        if rng.random() < 0.5:
            session.socket.recv(rng.randrange(1, 100000))
    if rng.random() < 0.5:
        session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    session.close()


def test_clients_that_come_and_go_as_they_like_end_nothing(tgtd, make_disk):
    rng = random.Random(7)
    disks = [make_disk(present=range(0, 2048, 3), zero=range(0, 2048, 7)) for _ in range(2)]
    for n, disk in enumerate(disks):
        tgtd.open(disk.path, lun=n + 1)
    for _ in range(100):
        sessions = [Session(tgtd.port, IQN, lun=rng.randrange(1, 3)) for _ in range(rng.randrange(1, 4))]
        is_stopped = rng.random() < 0.5
        if is_stopped:
            os.kill(tgtd.process.pid, signal.SIGSTOP)
        try:
            for one in sessions:
                one.socket.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    one.socket.send(burst(rng, one))
        finally:
            if is_stopped:
                os.kill(tgtd.process.pid, signal.SIGCONT)
        for one in sessions:
            leave(rng, one)
        disks[0].board.set_flags(rng.choice((0, ON, ON | DATA, ON | DATA | RECORD)))
        disks[0].board.set_tail(disks[0].board.head)
    assert all(disk.board.reads > 0 for disk in disks)
    disks[0].board.set_flags(ON | DATA)
    reads_of(tgtd, BASE, BLOCK, BLOCK)


# --- the board -------------------------------------------------------------------------------------------------------


def test_flags_decide_what_is_answered(tgtd, make_disk):
    disk = make_disk(present=[1])
    tgtd.open(disk.path)
    for flags, absent, present in ((0, VIEW, VIEW), (DATA, VIEW, VIEW), (ON, BASE, VIEW), (ON | DATA, BASE, PRESENT)):
        disk.board.set_flags(flags)
        tgtd.io(f"read -P {absent} 0 4096", f"read -P {present} 4096 4096")


def test_another_generation_of_the_map_ends_it(tgtd, make_disk):
    disk = make_disk(zero=[1])
    tgtd.open(disk.path)
    reads_of(tgtd, BASE, 0, BLOCK)
    disk.set_generation(1)
    tgtd.io(f"read -P {VIEW} 0 4096", f"read -P {VIEW} 4096 4096")


def test_recorded_reads_are_noted_until_the_ring_is_full(tgtd, make_disk):
    disk = make_disk()
    tgtd.open(disk.path)
    reads_of(tgtd, BASE, 0, BLOCK)
    assert disk.board.notes() == []
    disk.board.set_flags(ON | DATA | RECORD)
    tgtd.io(f"read -P {BASE} {MIB} 8192", f"read -P {BASE} {2 * MIB} 4096")
    assert disk.board.notes()[-2:] == [(MIB, 8192), (2 * MIB, 4096)]
    tgtd.io(*[f"read {3 * MIB} 512"] * RING)
    assert len(disk.board.notes()) == RING
    reads_of(tgtd, VIEW, 0, BLOCK)
    assert disk.board.head == RING
    disk.board.set_tail(RING)
    reads_of(tgtd, BASE, 0, BLOCK)
    assert (0, BLOCK) in disk.board.notes()


def test_a_tail_that_cannot_be_is_a_full_ring(tgtd, make_disk):
    disk = make_disk()
    disk.board.set_flags(ON | RECORD)
    disk.board.set_tail(1 << 63)
    tgtd.open(disk.path)
    reads_of(tgtd, VIEW, 0, BLOCK)


# --- opening and closing ---------------------------------------------------------------------------------------------


def test_the_connection_is_open_as_long_as_the_lun(tgtd, server, make_disk):
    disk = make_disk()
    tgtd.open(disk.path)
    reads_of(tgtd, BASE, 0, BLOCK)
    assert server.asked == [disk.id] and not server.is_closed(0)
    files_of = lambda: [p for p in (os.readlink(f) for f in pathlib.Path(f"/proc/{tgtd.process.pid}/fd").iterdir()) if str(disk.id) in p]
    assert len(files_of()) == 4
    tgtd.close()
    assert server.is_closed(0) and files_of() == []


def test_the_path_update_of_a_lun_asks_again(tgtd, server, make_disk):
    one, two = make_disk(), make_disk()
    tgtd.open(one.path)
    reads_of(tgtd, BASE, 0, BLOCK)
    for words in ("online=0", f"path={two.path}", "online=1"):
        tgtd.adm("--op", "update", "--mode", "logicalunit", "--tid", 1, "--lun", 1, "--params", words)
    reads_of(tgtd, BASE, 0, BLOCK)
    assert server.asked == [one.id, two.id] and server.is_closed(0) and two.board.reads > 0


def test_many_luns_do_not_share_anything(tgtd, make_disk):
    disks = [make_disk(size=MIB, present=[n]) for n in range(40)]
    for n, disk in enumerate(disks):
        tgtd.open(disk.path, lun=n + 1)
    for n in range(0, 40, 3):
        tgtd.close(lun=n + 1)
    for n in range(40):
        if n % 3:
            tgtd.io(f"read -P {PRESENT} {n * BLOCK} 4096", f"read -P {BASE} {(n + 1) * BLOCK} 4096", lun=n + 1)


def test_reads_go_on_when_the_other_side_dies(tgtd, server, make_disk):
    disk = make_disk(present=[1])
    tgtd.open(disk.path)
    server.die()
    tgtd.io(f"read -P {BASE} 0 4096", f"read -P {PRESENT} 4096 4096")
    tgtd.close()


def test_a_plain_lun_is_beside_it(tgtd, make_disk):
    one, two = make_disk(), make_disk()
    tgtd.open(one.path, lun=1, store="rdwr")
    tgtd.open(two.path, lun=2)
    reads_of(tgtd, VIEW, 0, BLOCK, lun=1)
    reads_of(tgtd, BASE, 0, BLOCK, lun=2)


def test_other_sectors_are_read_through_the_view(tgtd, make_disk):
    disk = make_disk()
    tgtd.open(disk.path, more=["--blocksize", "4096"])
    reads_of(tgtd, VIEW, 0, BLOCK)
    assert disk.board.reads == 0


# --- what cannot be, is read through the view ------------------------------------------------------------------------


def spoil_size(disk):
    disk.answer["size"] = SIZE - 512


def spoil_base_bytes(disk):
    disk.answer["base_bytes"] = SIZE + 512


def spoil_short_base(disk):
    os.truncate(disk.files["base"], SIZE - 512)


def spoil_magic(disk):
    disk.answer["magic"] = 7


def spoil_version(disk):
    disk.answer["version"] = 2


def spoil_error(disk):
    disk.answer["error"] = -13


def spoil_strange_error(disk):
    disk.answer["error"] = 1 << 30


def spoil_seals(disk):
    disk.board = Board(seals=fcntl.F_SEAL_GROW)


def spoil_board(disk):
    disk.board = Board(magic=8)


def spoil_map_of_another(disk):
    live_map(disk.files["map"], Disk(disk.folder, 512).id, SIZE)


def spoil_map_size(disk):
    live_map(disk.files["map"], disk.id, SIZE - 512)


def spoil_map_boot(disk):
    live_map(disk.files["map"], disk.id, SIZE, boot_id=bytes(16))


def spoil_map_half(disk):
    live_map(disk.files["map"], disk.id, SIZE, complete=0)


def spoil_map_cut(disk):
    os.truncate(disk.files["map"], 8192)


def spoil_map_leaf(disk):
    with open(disk.files["map"], "r+b") as file:
        file.seek(4096)
        file.write(b"\x77\0\0\0")


def spoil_pipe(disk):
    os.unlink(disk.files["base"])
    os.mkfifo(disk.files["base"])
    disk.modes["base"] |= os.O_NONBLOCK


def spoil_folder(disk):
    os.unlink(disk.files["data"])
    disk.files["data"].mkdir()


def spoil_write_access(disk):
    disk.modes["data"] = os.O_RDWR


def spoil_path_only(disk):
    disk.modes["base"] = os.O_PATH


SPOILERS = [thing for name, thing in sorted(globals().items()) if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda f: f.__name__[6:])
def test_an_answer_that_is_wrong_leaves_a_plain_lun(tgtd, server, make_disk, spoil):
    disk, good = make_disk(), make_disk()
    spoil(disk)
    tgtd.open(disk.path)
    reads_of(tgtd, VIEW, 0, BLOCK)
    assert f"'{disk.path}' is read through diskgate-fs only" in tgtd.said()
    assert server.is_closed(0)
    tgtd.open(good.path, lun=2)
    reads_of(tgtd, BASE, 0, BLOCK, lun=2)


@pytest.mark.parametrize("count", [0, 1, 3, 5, 40])
def test_another_number_of_descriptors_is_refused_and_none_is_kept(tgtd, server, make_disk, count):
    disk = make_disk()
    server.reply = lambda d: (d.bytes(), (d.open_files() * 10)[:count] if count else [])
    tgtd.open(disk.path)
    reads_of(tgtd, VIEW, 0, BLOCK)
    kept = [os.readlink(f) for f in pathlib.Path(f"/proc/{tgtd.process.pid}/fd").iterdir()]
    assert sum(str(disk.id) in path or "memfd" in path for path in kept) == 1, kept  # the view


@pytest.mark.parametrize("text", [b"", b"x", b"x" * 31, b"x" * 32, b"x" * 33, b"x" * 5000], ids=len)
def test_noise_is_refused(tgtd, server, make_disk, text):
    disk = make_disk()
    server.reply = lambda d: (text, d.open_files())
    tgtd.open(disk.path)
    reads_of(tgtd, VIEW, 0, BLOCK)


def test_an_answer_that_comes_late_is_taken(tgtd, server, make_disk):
    disks = [make_disk(size=MIB) for _ in range(10)]
    server.reply = lambda d: None
    for n, disk in enumerate(disks):
        tgtd.open(disk.path, lun=n + 1)
    for n in (0, 9):
        reads_of(tgtd, VIEW, 0, BLOCK, lun=n + 1)
    wait_until(lambda: len(server.waiting) == 10, what="ten questions")
    server.answer_all()
    for n in range(10):
        reads_of(tgtd, BASE, 0, BLOCK, lun=n + 1)


def test_a_lun_without_an_answer_can_be_closed_and_one_whose_server_dies_is_plain(tgtd, server, make_disk):
    disks = [make_disk(size=MIB) for _ in range(2)]
    server.reply = lambda d: None
    for n, disk in enumerate(disks):
        tgtd.open(disk.path, lun=n + 1)
    wait_until(lambda: len(server.waiting) == 2, what="two questions")
    tgtd.close(lun=1)
    assert server.is_closed(0)
    server.die()
    reads_of(tgtd, VIEW, 0, BLOCK, lun=2)
    reads_of(tgtd, VIEW, 0, BLOCK, lun=2)


def test_nobody_listens(folder, library):
    disk = Disk(folder, MIB)
    tgtd = Tgtd(folder, library)
    try:
        tgtd.open(disk.path)
        reads_of(tgtd, VIEW, 0, BLOCK)
        assert "direct.sock" in tgtd.said()
    finally:
        assert tgtd.stop()


def test_without_a_socket_it_is_a_plain_store(folder, server, library):
    disk = Disk(folder, MIB)
    tgtd = Tgtd(folder, library, socket_name=None)
    try:
        tgtd.open(disk.path)
        reads_of(tgtd, VIEW, 0, BLOCK)
        assert server.asked == []
    finally:
        assert tgtd.stop()


def test_a_file_that_is_no_view_is_not_asked_for(tgtd, server, folder, make_disk):
    disk = make_disk()
    (folder / "plain.img").write_bytes(bytes([VIEW]) * MIB)
    os.link(folder / disk.path, folder / "mnt" / f"{disk.id}.img")
    tgtd.open("plain.img", lun=1)
    tgtd.open(f"mnt/{disk.id}.img", lun=2)
    reads_of(tgtd, VIEW, 0, BLOCK, lun=1)
    reads_of(tgtd, VIEW, 0, BLOCK, lun=2)
    assert server.asked == []


def test_a_map_that_is_cut_under_the_lun_ends_it(tgtd, make_disk):
    disk, good = make_disk(), make_disk()
    tgtd.open(disk.path)
    tgtd.open(good.path, lun=2)
    reads_of(tgtd, BASE, 0, BLOCK)
    os.truncate(disk.files["map"], 0)
    tgtd.io(f"read -P {VIEW} 0 4096", f"read -P {VIEW} {MIB} 4096")
    live_map(disk.files["map"], disk.id, SIZE)
    reads_of(tgtd, VIEW, 0, BLOCK)  # for good
    reads_of(tgtd, BASE, 0, BLOCK, lun=2)
    os.truncate(good.files["map"], 0)
    reads_of(tgtd, VIEW, 0, BLOCK, lun=2)
    tgtd.close(lun=1)
    tgtd.close(lun=2)


def test_files_that_are_cut_under_the_lun_are_not_read_short(tgtd, make_disk):
    disk = make_disk(present=[1])
    tgtd.open(disk.path)
    os.truncate(disk.files["base"], 0)
    os.truncate(disk.files["data"], 4096 + 512)
    tgtd.io(f"read -P {VIEW} 0 4096", f"read -P {VIEW} 4096 4096", f"read -P {PRESENT} 4096 512")


# --- tgtd ------------------------------------------------------------------------------------------------------------


def test_tgtd_shows_the_store(tgtd, make_disk, library):
    disk = make_disk()
    tgtd.open(disk.path)
    assert "diskgate" in tgtd.adm("--op", "show", "--mode", "system")
    assert "Backing store type: diskgate" in tgtd.adm("--op", "show", "--mode", "target")
    assert str(library.resolve()) in pathlib.Path(f"/proc/{tgtd.process.pid}/maps").read_text()


def test_the_library_does_nothing_in_another_program(library):
    done = subprocess.run(["sh", "-c", "echo $LD_PRELOAD"], env={**os.environ, "LD_PRELOAD": str(library)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(library), "")


def test_a_missing_file_is_no_lun(tgtd, make_disk):
    good = make_disk()
    done = tgtd.try_adm("--op", "new", "--mode", "logicalunit", "--tid", 1, "--lun", 1, "-b", "mnt/by-id/none.img", "--bstype", "diskgate")
    assert done.returncode != 0
    tgtd.open(good.path)
    reads_of(tgtd, BASE, 0, BLOCK)


def test_tgtd_ends_with_open_luns(tgtd, make_disk):
    tgtd.open(make_disk().path)
    tgtd.open(make_disk().path, lun=2)
    tgtd.adm("--op", "delete", "--force", "--mode", "target", "--tid", 1)
    tgtd.adm("--op", "delete", "--mode", "system")
    wait_until(lambda: tgtd.process.poll() is not None, what="the end of tgtd")
    assert tgtd.process.returncode == 0
