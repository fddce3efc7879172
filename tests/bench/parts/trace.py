# SPDX-License-Identifier: GPL-2.0-or-later
"""A recorded boot: "t_us,op,offset,length" a line, and the image that it was recorded from, as far as it was read."""

import os

PAGE = 4096


class Trace:
    """`size_bytes` of the smallest disk that it fits on, in MiB; `read_pages` different pages of 4 KiB are read."""

    def __init__(self, path):
        pages, end = set(), 0
        with open(path) as file:
            for line in file:
                _, op, offset, length = line.split(",")
                if op not in ("read", "write", "trim"):
                    continue
                end = max(end, int(offset) + int(length))
                if op == "read":
                    pages.update(range(int(offset) // PAGE, (int(offset) + int(length) - 1) // PAGE + 1))
        self.size_bytes = -(-end // (1 << 20)) << 20
        self.pages, self.read_pages = pages, len(pages)

    def make_image(self, path):
        """A sparse file with random bytes where the boot reads."""
        with open(path, "wb") as file:
            file.truncate(self.size_bytes)
            for page in sorted(self.pages):
                file.seek(page * PAGE)
                file.write(os.urandom(PAGE))
            file.flush()
            os.fsync(file.fileno())
