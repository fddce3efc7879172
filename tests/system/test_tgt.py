# SPDX-License-Identifier: GPL-2.0-or-later
"""Talking with tgtd: by its control socket, without tgtadm; with tgtadm where a tgtd takes requests of another form; and with one that is frozen."""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import threading

import pytest
from support.files import MIB, make_image
from support.iscsi import file_hash

HEAD = 120
ACCOUNT, UNBIND, INVALID = 7, 4, 17


@pytest.fixture
def site(root):
    root.ok("image", "add", "win", make_image(root.files / "base.raw", 4 * MIB))
    for number in range(3):
        root.ok("client", "add", f"pc{number}", "--mac", f"52:54:00:00:02:0{number}", "--image", "win")
    return root


@contextlib.contextmanager
def frozen(site, shard):
    (pid,) = [pid for pid, text in site.tgt_processes().items() if f" -C {shard + 1} " in f"{text} "]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def problems_of(site):
    done = site.run("--json", "status")
    status = json.loads(done.stdout)
    assert done.returncode == (3 if status["problems"] else 0)
    return {row["what"]: row["problem"] for row in status["problems"]}


def shard_of(site, client):
    return int(site.target(client)["portal"].rpartition(":")[2]) - site.port


def test_passwords_pass_by_no_command_line(site, tmp_path, monkeypatch):
    """tgtadm takes them in no other way: so none is ever run."""
    note = tmp_path / "tgtadm-ran"
    program = tmp_path / "tgtadm"
    program.write_text(f'#!/bin/sh\necho "$@" >>{note}\nexit 22\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    site.ok("up")
    site.ok("client", "add", "pc9", "--mac", "52:54:00:00:02:09", "--image", "win")
    assert site.disk("pc9").hash() == file_hash(site.files / "base.raw")
    site.ok("set", "auth.chap", "off")
    site.ok("set", "auth.chap", "on")
    site.ok("client", "remove", "pc9")
    site.ok("target", "sync")
    assert problems_of(site) == {}
    site.ok("down")
    assert not note.exists(), note.read_text()


def test_status_names_the_tgtd_that_does_not_answer_and_shows_the_others(site):
    site.ok("set", "gateway.shards", 3)
    site.ok("up")
    assert problems_of(site) == {}
    victim = shard_of(site, "pc1")
    with frozen(site, victim) as pid:
        problems = problems_of(site)
        assert set(problems) == {f"tgtd {victim}"}
        assert re.fullmatch(rf"tgtd shard {victim} \(pid {pid}\) does not answer within 2 s; 'diskgate up' starts it anew",
                            problems[f"tgtd {victim}"])
        rows = {row["client"]: row for row in site.targets()}
        assert rows["pc1"]["state"] == "closed" and "does not answer" in rows["pc1"]["problem"]
        assert rows["pc0"]["state"] == rows["pc2"]["state"] == "open"
    assert problems_of(site) == {}


def test_all_that_do_not_answer_are_named(site):
    site.ok("set", "gateway.shards", 3)
    site.ok("up")
    with contextlib.ExitStack() as stack:
        for shard in range(3):
            stack.enter_context(frozen(site, shard))
        assert set(problems_of(site)) == {"tgtd 0", "tgtd 1", "tgtd 2"}


def test_status_waits_once_for_a_tgtd_that_does_not_answer(site):
    site.ok("up")
    path, real = site.path / "run/tgt.1", site.path / "run/tgt.real"
    path.rename(real)
    try:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(path))
            silent.listen(16)
            assert set(problems_of(site)) == {"tgtd 0"}
            silent.settimeout(0)
            asked = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    silent.accept()[0].close()
                    asked += 1
            assert asked == 1
    finally:
        real.rename(path)


def test_up_replaces_a_tgtd_that_does_not_answer(site):
    site.ok("up")
    with frozen(site, 0) as pid:
        assert "did not answer and was ended by force" in site.ok("up")
        assert pid not in site.tgt_processes()
    assert site.disk("pc0").hash() == file_hash(site.files / "base.raw")


class OtherForm:
    """tgtd shard 0 behind a socket that does not understand the greeting, as one whose requests are longer or shorter would not."""

    def __init__(self, run):
        self.path, self.real = run / "tgt.1", run / "tgt.real"
        self.path.rename(self.real)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(16)
        self.greetings = self.requests = 0
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                self.answer(peer)

    def answer(self, peer):
        request = peer.recv(HEAD, socket.MSG_WAITALL)
        if len(request) < HEAD:
            return
        mode, verb = struct.unpack_from("II", request, 0)
        (length,) = struct.unpack_from("I", request, 72)
        request += peer.recv(length - HEAD, socket.MSG_WAITALL) if length > HEAD else b""
        if (mode, verb) == (ACCOUNT, UNBIND):
            self.greetings += 1
            peer.sendall(struct.pack("II", INVALID, 8))
            return
        self.requests += 1
        with socket.socket(socket.AF_UNIX) as tgtd:
            tgtd.connect(str(self.real))
            tgtd.sendall(request)
            while piece := tgtd.recv(1 << 16):
                peer.sendall(piece)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(30)
        self.listener.close()
        self.real.rename(self.path)


def test_tgtd_of_another_form_is_asked_by_tgtadm_and_that_is_said(site):
    site.ok("up")
    other = OtherForm(site.path / "run")
    try:
        said = site.ok("target", "sync")
        assert said.count("takes requests of another form") == 1, said
        site.ok("client", "add", "pc9", "--mac", "52:54:00:00:02:09", "--image", "win")
        assert site.disk("pc9").hash() == file_hash(site.files / "base.raw")
        assert problems_of(site) == {}
        assert other.greetings > 0 and other.requests > 0
    finally:
        other.close()
    assert "another form" not in site.ok("target", "sync")
    assert site.target("pc9")["state"] == "open"
