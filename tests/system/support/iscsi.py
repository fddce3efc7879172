# SPDX-License-Identifier: GPL-2.0-or-later
"""A client's disk as its PC sees it: through iSCSI, with qemu's initiator (libiscsi) and the client's own password."""

import hashlib
import os
import pathlib
import subprocess
import tempfile

MIB = 1 << 20


class IscsiError(Exception):
    """The initiator did not succeed; the text is what it said."""


def url_of(target):
    """URL of one row of `target list --json`."""
    lock = f"{target['chap_user']}%{target['chap_password']}@" if target.get("chap_password") else ""
    return f"iscsi://{lock}{target['portal']}/{target['iqn']}/{target['lun']}"


def call(*command, timeout=120):
    """Run an initiator; qemu-io reports some failures in its output only."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    text = done.stdout + done.stderr
    if done.returncode != 0 or "failed" in text.lower():
        raise IscsiError(f"{command[:4]} -> {done.returncode}: {text.strip()}")
    return text


class Disk:
    """Each call logs in, works and logs out."""

    def __init__(self, target, scratch):
        self.url = url_of(target)
        self.scratch = pathlib.Path(scratch)

    def io(self, *commands, unmap=False):
        options = ["-d", "unmap"] if unmap else []
        for text in commands:
            options += ["-c", text]
        return call("qemu-io", "-f", "raw", *options, self.url)

    def size(self):
        text = call("qemu-img", "info", "-f", "raw", "--output=json", self.url)
        return int(text.split('"virtual-size":')[1].split(",")[0])

    def _temp(self):
        handle, path = tempfile.mkstemp(dir=self.scratch)
        os.close(handle)
        return path

    def copy(self, path):
        """All of the disk, into a file, read from end to end."""
        call("qemu-img", "dd", "-f", "raw", "-O", "raw", "bs=1M", f"if={self.url}", f"of={path}")

    def copy_data(self, path):
        """The same, but what GET LBA STATUS calls unmapped is not read."""
        call("qemu-img", "convert", "-f", "raw", "-O", "raw", self.url, str(path))

    def hash(self):
        path = self._temp()
        try:
            self.copy(path)
            return file_hash(path)
        finally:
            os.unlink(path)

    def read_all(self):
        path = self._temp()
        try:
            self.copy(path)
            return pathlib.Path(path).read_bytes()
        finally:
            os.unlink(path)

    def write(self, data, offset):
        """Sector-aligned bytes; flushed at the end."""
        path = self._temp()
        try:
            pathlib.Path(path).write_bytes(data)
            self.io(f"write -s {path} {offset} {len(data)}", "flush")
        finally:
            os.unlink(path)

    def discard(self, offset, length):
        self.io(f"discard {offset} {length}", unmap=True)

    def can_log_in(self):
        try:
            self.size()
        except IscsiError:
            return False
        return True


def file_hash(path, length=None):
    """sha256 of a file, or of its first bytes, with zeros where it ends before."""
    digest = hashlib.sha256()
    done = 0
    with open(path, "rb") as file:
        while length is None or done < length:
            piece = file.read(MIB if length is None else min(MIB, length - done))
            if not piece:
                break
            digest.update(piece)
            done += len(piece)
    if length is not None and done < length:
        digest.update(bytes(length - done))
    return digest.hexdigest()
