# SPDX-License-Identifier: GPL-2.0-or-later
"""A backup repository as a test sees it: made and filled by diskgate-backup, read by zstd and bsdtar and nothing of ours."""

import json
import os
import subprocess
import tempfile

import pytest

from .files import MIB, make_image


def flip_byte(path, share=0.5):
    """One byte of a file, so far into it, becomes another one."""
    with open(path, "r+b") as file:
        file.seek(int(path.stat().st_size * share))
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 0xFF]))


class Repository:
    def __init__(self, root, name="repo"):
        self.root, self.path, self.last = root, root.base / name, None
        self.program = root.programs.build / "backup" / "diskgate-backup"
        if not self.program.exists():
            pytest.skip("diskgate-backup is not built")

    def command(self, *args):
        return [str(self.program), *map(str, args)]

    def environment(self):
        return {**os.environ, "DISKGATE_ROOT": str(self.root.path)}

    def run(self, *args, timeout=120):
        return subprocess.run(self.command(*args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                              env=self.environment())

    def ok(self, *args, status=0):
        done = self.run(*args)
        assert done.returncode == status, f"{args} -> {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def init(self, *options):
        self.ok("init", self.path, *options)
        return self

    def create(self, *args, status=0):
        """The summary of one backup; `last` is its set."""
        return self.note(self.ok("--json", "create", self.path, *args, status=status))

    def note(self, printed):
        summary = json.loads(printed)
        self.last = summary["set"]
        return summary

    def verify(self, *args, status=0):
        """What `verify` found."""
        return json.loads(self.ok("--json", "verify", self.path, *args, status=status))

    def packs(self):
        return sorted((self.path / "packs").rglob("*.tar.zst"))

    def start(self, *args):
        return subprocess.Popen(self.command("--json", "create", self.path, *args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=self.environment())

    def sets(self):
        """In no order that says anything: two of one second differ by chance."""
        return sorted(p.name for p in (self.path / "sets").iterdir())

    def manifest(self, set_id, name):
        """(head, {chunk number: name or None for inherit}) of the stream file @name."""
        text = subprocess.run(["zstd", "-dc", str(self.path / "sets" / set_id / f"{name}.manifest.zst")], capture_output=True,
                              text=True, check=True, timeout=60).stdout
        head, body, _tail = text.split("--\n")
        fields = dict(line.split(" ", 1) for line in head.splitlines()[1:])
        chunks = {}
        for line in body.splitlines():
            number, value = line.split()
            first, _, last = number.partition("-")
            for n in range(int(first), int(last or first) + 1):
                chunks[n] = None if value == "inherit" else value
        return fields, chunks

    def disk(self, set_id, name, backing=None):
        """Content of a stream; what it inherits comes from @backing."""
        head, chunks = self.manifest(set_id, name)
        size, chunk = int(head["size"]), int(head["chunk"])
        content = bytearray(size)
        with tempfile.TemporaryDirectory(dir=self.root.files) as folder:
            for pack in self.packs():
                subprocess.run(["bsdtar", "-xf", str(pack), "-C", folder], check=True, timeout=120)
            for number, what in chunks.items():
                start, end = number * chunk, min((number + 1) * chunk, size)
                if what is None:
                    content[start:end] = backing[start:end]
                else:
                    with open(os.path.join(folder, what), "rb") as file:
                        content[start:end] = file.read()
        assert len(content) == size
        return bytes(content)


def with_image(root):
    """@root with an image `win` of 16 MiB that is in a repository of several packs."""
    root.image = make_image(root.files / "base.raw", 16 * MIB)
    root.ok("image", "add", "win", root.image)
    root.repository = Repository(root).init("--pack", "4M")
    root.repository.create()
    return root
