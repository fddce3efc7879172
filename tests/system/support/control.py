# SPDX-License-Identifier: GPL-2.0-or-later
"""diskgate-fs as its control socket shows it, and reads through the mount that it is asked about."""

import json
import os
import socket

EXTENT = 65536  # of a boot set, bytes


def ask(root, **request):
    """One command on diskgate-fs's control socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        here = os.open(root.path / "run", os.O_RDONLY | os.O_DIRECTORY)
        try:
            sock.connect(f"/proc/self/fd/{here}/fs.sock")
        finally:
            os.close(here)
        sock.sendall(json.dumps(request).encode() + b"\n")
        with sock.makefile() as file:
            return json.loads(file.readline())


def read_extents(path, numbers):
    fd = os.open(path, os.O_RDONLY)
    try:
        for number in numbers:
            os.pread(fd, 4096, number * EXTENT + 8192)
    finally:
        os.close(fd)


def version(root):
    """What it tells of the only version, once all is in memory that is to be there."""
    return ask(root, cmd="settle")["images"][0]
