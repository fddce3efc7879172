# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the system tests. Every test works in roots of its own; after it nothing of them may be left."""

import os
import pathlib

import pytest
from support.root import LIMIT_S, Programs, Root

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def pytest_configure(config):
    config.addinivalue_line("markers", "netboot: virtual PCs boot from a gateway, some minutes; leave out with -m 'not netboot'")


# What takes longest begins first, so that at the end nobody waits for one of them.
LONGEST_FIRST = ["test_netboot", "test_conformance", "test_backup_memory", "test_real_disks", "test_quickstart", "test_damage", "test_damage_root", "test_crash"]
NETBOOTS = 2  # at a time: each PC that boots takes a processor


def begins_late(item):
    name = item.module.__name__
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items):
    items.sort(key=begins_late)
    for number, item in enumerate(items):
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_S))
        if item.get_closest_marker("netboot"):
            item.add_marker(pytest.mark.xdist_group(f"netboot{number % NETBOOTS}"))


@pytest.fixture(scope="session")
def repository():
    return REPOSITORY


@pytest.fixture(scope="session")
def programs():
    found = Programs(os.environ.get("DISKGATE_BUILD", REPOSITORY / "build"))
    if os.geteuid() != 0:
        pytest.skip("system tests mount file systems and start tgtd: they need root")
    for path in (found.diskgate, found.diskgate_fs):
        assert path.exists(), f"'{path}' is not built; run meson compile, or set DISKGATE_BUILD"
    return found


@pytest.fixture
def make_root(programs, request):
    """A function that makes one more root, with `diskgate init` done and its own ports."""
    limit = request.node.get_closest_marker("timeout").args[0]
    roots = []

    def make(**settings):
        root = Root(programs, limit - 15)
        roots.append(root)
        return root.init(**settings)

    yield make
    faults = [fault for root in roots for fault in root.close()]
    assert not faults, "left behind:\n" + "\n".join(faults)


@pytest.fixture
def root(make_root):
    return make_root()
