# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged files: a sentence that names the thing and a way out that works, never a crash, never another client's blocks.

Each client has a damage of its own, so one `up` shows what all of them do. Every client's disk was filled with its own pattern before; the
others, whose files are whole, must read theirs all the time.
"""

import pytest
from support.damage import FILLED, SIZE, TAIL, assert_alive, cut, fill, flip, flip_back, kill_file_system, pattern_of, put, put_back
from support.files import make_image

COMMON = {
    "empty": cut(0),
    "foreign": lambda own, other: b"this is a letter to my landlord\n" * 500,
    "swapped": lambda own, other: other,
    "cut": lambda own, other: own[: len(own) // 2],
    "missing": lambda own, other: None,
}

MAP = COMMON | {
    "first-byte": flip(0),
    "short": cut(100),
    "id": flip(16),
    "disk-size": flip(33),
    "sequence": flip(48),
    "leaf-count": flip(56),
    "identity": flip(64),
    "sum": flip(4090),
    "record": flip(4096 + 2),
    "bits": flip(4096 + 16),
    "grown": lambda own, other: own + bytes(4112),
    "future-version": put(8, b"\x02"),
    "future-feature": put(12, b"\x01"),
}

DATA = COMMON | {
    "without-tail": lambda own, other: own[:-TAIL],
    "grown": lambda own, other: own + bytes(TAIL),
    "tail-magic": flip_back(TAIL),
    "tail-id": flip_back(TAIL - 16),
    "tail-size": flip_back(TAIL - 33),
    "future-version": put_back(TAIL - 8, b"\x02"),
}

LIVE = COMMON | {
    "magic": flip(0),
    "future-version": put(8, b"\x02"),
    "future-feature": put(12, b"\x01"),
    "id": flip(32),
    "identity": flip(48),
    "disk-size": flip(129),
    "leaf-offset": flip(136),
    "incomplete": put(144, b"\0"),
    "directory": put(4096, b"\x63\0\0\0"),
}


# Behind a live map a kept overlay's map file is not needed and made anew, unless it belongs to somebody else or to a newer Diskgate.
BESIDE_LIVE = {"map-swapped", "map-id", "map-future-version", "map-future-feature"}


class Damaged:
    """A root in which client KIND-CASE has a damaged file of that kind."""

    def __init__(self, root, cases, mode):
        self.root = root
        self.cases = cases  # {client: (kind, change)}
        self.names = [*cases, "healthy", "donor"]
        self.originals = {}
        make_image(root.files / "base.raw", SIZE, seed=4)
        self.base = (root.files / "base.raw").read_bytes()
        root.ok("image", "add", "win", root.files / "base.raw")
        for number, name in enumerate(self.names):
            mac = f"52:54:00:00:01:{number:02x}"
            root.ok("client", "add", name, "--mac", mac, "--image", "win", "--mode", mode)
        root.ok("up")
        for name in self.names:
            fill(root, name)

    def read(self, name):
        return self.root.view(name).read_bytes()

    def stop(self, ending):
        if ending == "clean":
            self.root.ok("down")
        else:
            kill_file_system(self.root)

    def path(self, name, kind):
        if kind != "live":
            return self.root.path / "overlays" / name / f"0.{kind}"
        row = self.root.json("overlay", "show", name)["overlays"][0]
        return self.root.path / "run" / "live" / f"{row['overlay_id']}.live"

    def damage(self):
        for name, (kind, change) in self.cases.items():
            path = self.path(name, kind)
            own, other = path.read_bytes(), self.path("donor", kind).read_bytes()
            self.originals[name] = path, own
            content = change(own, other)
            path.unlink()
            if content is not None:
                path.write_bytes(content)

    def put_back(self, names):
        for name in names:
            path, own = self.originals[name]
            path.write_bytes(own)

    def refused(self, done):
        """{client: sentence} of an `up` that ended by itself."""
        assert done.returncode in (0, 1), f"{done.returncode}: {done.stdout}{done.stderr}"
        text = done.stdout + done.stderr
        assert_alive(self.root)
        found = {row["client"]: row["problem"] for row in self.root.targets() if row["state"] != "open"}
        lost = {name for name, sentence in found.items() if "lost with the server" in sentence}  # waits for its boot: no fault of `up`
        assert (done.returncode == 0) == (set(found) == lost), text
        assert all(name in text for name in found), text
        return found

    def check_served(self, refused):
        """Whoever is served reads his own bytes or the image's, and nobody else's."""
        for name in self.names:
            if name in refused:
                assert not self.root.view(name).exists(), name
                continue
            content = self.read(name)
            assert content[FILLED:] == self.base[FILLED:], name
            assert content[:FILLED] in (pattern_of(name), self.base[:FILLED]), name
        for name in ("healthy", "donor"):
            assert self.read(name)[:FILLED] == pattern_of(name)

    def follow(self, refused):
        """Do what the sentences of refused clients say, until all are served."""
        for name, sentence in refused.items():
            assert "client reset" in sentence, sentence
            self.root.run("client", "reset", name)
        left = self.refused(self.root.run("up"))
        for name, sentence in left.items():
            assert "delete the file" in sentence or "move them away" in sentence, sentence
            self.originals[name][0].unlink(missing_ok=True)
        assert self.refused(self.root.run("up")) == {}
        for name in refused:
            assert self.read(name) == self.base, name


def cases_of(**tables):
    return {f"{kind}-{case}": (kind, change) for kind, table in tables.items() for case, change in table.items()}


@pytest.mark.parametrize("ending", ["clean", "killed"])
def test_damaged_overlay_files_close_their_client_only(root, ending):
    site = Damaged(root, cases_of(map=MAP, data=DATA), "kept")
    site.stop(ending)
    site.damage()
    refused = site.refused(root.run("up"))
    print(refused)
    site.check_served(refused)
    assert set(refused) == {name for name, (kind, _) in site.cases.items() if ending == "clean" or kind == "data" or name in BESIDE_LIVE}
    site.put_back(refused)
    assert site.refused(root.run("up")) == {}
    for name in site.names:
        assert site.read(name)[:FILLED] == pattern_of(name), name
    site.stop(ending)
    site.damage()
    refused = site.refused(root.run("up"))
    site.follow(refused)
    site.check_served({})


@pytest.mark.parametrize("mode", ["volatile", "kept"])
def test_damaged_live_maps_close_their_client_only(root, mode):
    site = Damaged(root, cases_of(live=LIVE), mode)
    site.stop("killed")
    site.damage()
    refused = site.refused(root.run("up"))
    print(refused)
    site.check_served(refused)
    # Of a kept overlay the map file and the journal have what was flushed.
    assert set(refused) == set(site.cases) - ({"live-missing"} if mode == "kept" else set())
    site.put_back(refused)
    # A volatile disk without a map is lost for its client that may still run, whatever is put back.
    assert set(site.refused(root.run("up"))) == ({"live-missing"} if mode == "volatile" else set())
    for name in set(site.names) - {"live-missing"}:
        assert site.read(name)[:FILLED] == pattern_of(name), name
    site.stop("killed")
    site.damage()
    site.follow(site.refused(root.run("up")))
    site.check_served({})
