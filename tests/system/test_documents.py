# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages in docs/ name what there is: files, functions, headings, and messages as the programs say them."""

import os
import re

import pytest

FOLDERS = ("backup", "cli", "contrib", "core", "docs", "fusefs", "gateway", "migrate", "tests")
PLACEHOLDER = re.compile(r"NAME|NOUN")


@pytest.fixture(scope="module")
def pages(repository):
    files = [repository / "README.md", *repository.glob("docs/*.md"), *repository.glob("contrib/**/*.md")]
    return {path: path.read_text() for path in files}


@pytest.fixture(scope="module")
def sources(repository):
    """The C texts of the programs, pieces of strings joined."""
    files = [path for folder in FOLDERS if folder != "tests" for path in repository.glob(f"{folder}/**/*.[ch]")]
    text = "".join(path.read_text() for path in files)
    text = re.sub(r'" *(PRI\w+) *"', "%x", text)
    return re.sub(r'"\s*\n\s*"', "", text).replace('\\"', '"')


def anchors(text):
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_documents_have_no_dead_links(pages):
    dead = []
    for path, text in pages.items():
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text):
            if re.match(r"\w+:", target):
                continue
            page = path.parent / target if target else path
            if not page.exists() or (anchor and anchor not in anchors(page.read_text())):
                dead.append(f"{path.name}: {target}#{anchor}")
    assert dead == []


def test_documents_name_files_that_exist(repository, pages):
    known = {name for folder in FOLDERS for _, folders, files in os.walk(repository / folder) for name in folders + files}
    missing = []
    for path, text in pages.items():
        for name in re.findall(r"(?<![\w/.-])((?:[\w-]+/)*[\w-]+\.(?:[ch]|py))(?![\w.])", text):
            is_there = (repository / name).exists() or ("/" not in name and name in known)
            if not is_there and not PLACEHOLDER.search(name) and not any(repository.glob(f"*/{name}")):
                missing.append(f"{path.name}: {name}")
        for name in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]*)`", text):
            if not any(repository.glob(name)) and not any(repository.glob(f"{name}.c")) and not PLACEHOLDER.search(name):
                missing.append(f"{path.name}: {name}")
    assert missing == []


def test_documents_name_functions_that_exist(pages, sources):
    names = {(path.name, name) for path, text in pages.items() for name in re.findall(r"`(\w+)\(\)`", text)}
    assert len(names) > 5
    assert [name for name in sorted(names) if not re.search(rf"\b{name[1]}\(", sources)] == []


def test_tables_of_documents_have_a_cell_for_each_column(pages):
    for path, text in pages.items():
        columns = None
        for line in re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).splitlines():
            count = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
            assert columns is None or count is None or count == columns, f"{path.name}: {line}"
            columns = count


SYSTEM_SAYS = {os.strerror(number) for number in range(1, 134)}
# What initiators and PCs say, not we; and a number with its word.
OTHERS_SAY = {"UNIT_ATTENTION", "BUS_RESET", "Operation not permitted (410d613c"}


def pieces(message):
    """The fixed texts of '... (pid ...) hangs: the mount ... does not answer'."""
    for piece in re.split(r"\.\.\.|'|: |\b\d+\b", message):
        piece = piece.strip(" ,;:().")
        if len(piece) > 3 and piece not in SYSTEM_SAYS and piece not in OTHERS_SAY:
            yield piece


def test_troubleshooting_has_messages_as_they_are(pages, sources):
    """Each fixed text stands in a string of the programs; there a word may be '%s'."""
    (text,) = (text for path, text in pages.items() if path.name == "troubleshooting.md")
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    told = [piece for cell in cells for message in re.findall(r"`([^`]+)`", cell) for piece in pieces(message)]
    assert len(told) > 150
    flat = re.sub(r"\s+", " ", sources)
    unknown = []
    for piece in told:
        words = [rf"(?:{re.escape(word)}|[^ ]*%[^ ]*)" for word in piece.split()]
        if piece not in flat and not re.search(" ".join(words), flat):
            unknown.append(piece)
    assert unknown == []
