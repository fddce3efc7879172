# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory of a large repository: 100 GB in the smallest chunks, 1.6 million of them, of which only the tables are there."""

import hashlib
import json
import random
import resource
import subprocess
import sys

import pytest
from support.files import MIB, make_image
from support.repository import Repository

CHUNK = 64 << 10
PACK_CHUNKS = 4096
PACKS = 400
FRAME = 100
LIMIT = 128 * MIB


def sealed(text):
    """With its last line; xxhsum has the hash."""
    done = subprocess.run(["xxhsum", "-H2", "-"], input=text.encode(), capture_output=True, check=True, timeout=60)
    return f"{text}end {text.count(chr(10))} {done.stdout.split()[0].decode()}\n"


def compress(text, path):
    subprocess.run(["zstd", "-q", "--check", "-o", str(path)], input=text.encode(), check=True, timeout=120)


def fill(repository, set_id):
    """Packs that are holes with tables of random names, and the set's only image becomes a disk of all of these chunks."""
    fields = dict(line.split("=") for line in (repository.path / "format").read_text().splitlines()[1:])
    source, tree, body = random.Random(1), hashlib.sha256(), []
    for number in range(2, PACKS + 2):
        folder = repository.path / "packs" / f"{number // 256:02d}"
        folder.mkdir(exist_ok=True)
        stem = f"{number:06d}-{source.randbytes(8).hex()}"
        rows = []
        for n in range(PACK_CHUNKS):
            name, digest = source.randbytes(16).hex(), source.randbytes(32).hex()
            rows.append(f"{name} {digest} {512 + n * FRAME} {FRAME} {CHUNK}\n")
            body.append(f"{len(body)} {name}\n")
            tree.update(f"{len(body) - 1} {digest}\n".encode())
        (folder / f"{stem}.toc").write_text(sealed(f"diskgate-toc 1\nrepo {fields['id']}\npack {stem}\n{''.join(rows)}"))
        with open(folder / f"{stem}.tar.zst", "wb") as file:
            file.truncate(512 + PACK_CHUNKS * FRAME + 4096)
    folder = repository.path / "sets" / set_id
    size = len(body) * CHUNK
    (folder / "image-win-1.manifest.zst").unlink()
    compress(sealed(f"diskgate-manifest 1\nrepo {fields['id']}\nset {set_id}\nkind base\nname win\nnumber 1\nsize {size}\nchunk {CHUNK}\n"
                    f"source scan\n--\n{''.join(body)}--\ntree-sha256 {tree.hexdigest()}\n"), folder / "image-win-1.manifest.zst")
    lines = (folder / "set.txt").read_text().splitlines(True)[:-1]
    text = "".join(f"stream base win 1 {size}\n" if line.startswith("stream base win 1 ") else line for line in lines)
    (folder / "set.txt").write_text(sealed(text))
    names = sorted(p.name for p in folder.iterdir() if p.name != "SHA256SUMS")
    (folder / "SHA256SUMS").write_text("".join(f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names))


# A small process runs the command: what a large one had in memory when it forked would count.
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak(repository, *words, status=0):
    """Bytes that a command had in memory at most, and what it said."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *repository.command(*words)], capture_output=True, text=True, check=True,
                          timeout=500, env=repository.environment())
    code, kib = map(int, done.stdout.split())
    assert code == status, done.stderr
    return kib << 10, done.stderr


@pytest.mark.timeout(600)
def test_large_repository_needs_little_memory(root):
    if resource.getpagesize() != 4096:
        pytest.skip("pages of another size")
    image = make_image(root.files / "base.raw", MIB)
    root.ok("image", "add", "win", image)
    repository = Repository(root).init("--no-reserve", "--chunk", "64k")
    large = repository.create()["set"]
    fill(repository, large)
    cache = repository.path / "index.cache"
    used = {}
    cache.unlink()

    def verified(name):
        """All chunks are found, and have the SHA-256 of the manifest's tree; what is wrong is that the packs have no heads."""
        used[name], said = peak(repository, "--json", "verify", repository.path, large, "--quick", status=13)
        report = json.loads(said[said.index("{\n") : said.rindex("}") + 1])
        assert report["manifest_chunks"] > PACKS * PACK_CHUNKS and report["chunks_missing"] == report["sets_damaged"] == 0, said[-2000:]

    verified("verify without an index")
    used["create without an index"], _ = peak(repository, "create", repository.path)
    assert cache.stat().st_size > PACKS * PACK_CHUNKS * 72
    used["create"], _ = peak(repository, "create", repository.path)
    verified("verify")
    used["restore"], said = peak(repository, "restore", repository.path, large, "win", root.base / "out.raw", status=13)
    assert "is damaged" in said, "all chunks were found; the first one that is read is none"
    used["prune"], _ = peak(repository, "prune", repository.path, "--keep-last", "5", "-n")
    print({name: f"{bytes_ / MIB:.0f} MiB" for name, bytes_ in used.items()})
    assert all(bytes_ < LIMIT for bytes_ in used.values()), used
