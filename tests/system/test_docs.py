# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual says what the programs do: no verb, option, setting or name is missing in it, and none is too many."""

import json
import os
import re
import shutil
import subprocess

import pytest
from support.files import make_partitioned

COMMON = {"--root", "--json", "--dry-run", "--quiet", "--verbose", "--help", "--version"}
LONG_OPTION = r"^\.It (?:Fl \w , )?Fl -([\w-]+)"


@pytest.fixture(scope="module")
def manual(repository):
    return {name: (repository / "docs" / "man" / name).read_text() for name in ("diskgate.8", "diskgate-fs.8")}


def words_of(text):
    """Words of an argument list without the brackets: '[KEY [VALUE]]' -> KEY VALUE."""
    return re.sub(r"[\[\]]", "", text).split()


def verbs_of_the_program(programs):
    """{verb: (arguments, options)} by `diskgate --list-verbs`."""
    table = subprocess.run([str(programs.diskgate), "--list-verbs"], check=True, capture_output=True, text=True, timeout=30).stdout
    found = {}
    for line in table.splitlines():
        verb, arguments, options = line.split("\t")
        assert verb not in found, f"'{verb}' is in the table twice"
        found[verb] = (words_of(arguments), {option.rstrip("=") for option in options.split()})
    return found


def verbs_of_the_manual(text):
    """The same from lines '.It Ic NOUN VERB ...' and, below each, '.It Fl -option'."""
    found = {}
    options = None
    for line in text.splitlines():
        if line.startswith(".It Ic "):
            macros = re.split(r" (?=(?:Ar|Op|Oo|Oc|Fl)\b)", line.removeprefix(".It Ic "))
            arguments = [word for part in macros if part.startswith("Ar ") for word in words_of(part[3:])]
            options = {"--dry-run"} if "Op Fl n" in line else set()
            found[macros[0].strip()] = (arguments, options)
        elif line.startswith((".Ss", ".Sh")):
            options = None
        elif options is not None and (option := re.match(LONG_OPTION, line)):
            options.add(f"--{option[1]}")
    return found


def settings_of_the_manual(text):
    return dict(re.findall(r"^\.It Va (\S+) Pq ?(.*)$", text, re.MULTILINE))


def test_manual_has_the_verbs_and_options_of_the_program(programs, manual):
    told, real = verbs_of_the_manual(manual["diskgate.8"]), verbs_of_the_program(programs)
    assert sorted(told) == sorted(real)
    for verb, row in real.items():
        assert told[verb] == row, f"docs/man/diskgate.8 on '{verb}': (arguments, options) differ from --list-verbs"


def test_manual_has_the_options_of_all_verbs(programs, manual):
    section = manual["diskgate.8"].split(".Ss Options of all commands")[1].split(".Ss")[0]
    told = {f"--{name}" for name in re.findall(LONG_OPTION, section, re.MULTILINE)}
    assert told == COMMON
    usage = subprocess.run([str(programs.diskgate), "--help"], check=True, capture_output=True, text=True, timeout=30).stdout
    real = set(re.findall(r"^  (?:-\w,|   ) (--[\w-]+)", usage, re.MULTILINE))
    assert real == COMMON - {"--dry-run"}  # which is shown with the verbs that have it


def test_manual_has_the_settings_of_the_program(root, manual):
    told = settings_of_the_manual(manual["diskgate.8"])
    real = {row["key"]: row["default"] for row in root.json("set")["settings"]}
    assert told == real


def test_manual_of_the_file_system_has_its_options(programs, manual):
    text = manual["diskgate-fs.8"]
    usage = subprocess.run([str(programs.diskgate_fs), "-h"], check=True, capture_output=True, text=True, timeout=30).stdout
    told = set(re.findall(r"^\.It Cm ([\w-]+)", text.split(".Ss Mount options")[1].split(".Ss")[0], re.MULTILINE))
    assert told == set(re.findall(r"-o (\w+)[= ]", usage))
    told = set(re.findall(r"^\.It Fl (\w)\b", text, re.MULTILINE))
    assert told == set(re.findall(r"[ ,]-(\w)\b", usage))


def test_manual_has_the_names_and_attributes_of_the_mount(root, manual):
    make_partitioned(root.files / "base.raw")
    root.ok("image", "add", "win", root.files / "base.raw")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win")
    root.ok("up")
    text = manual["diskgate-fs.8"]
    pattern = re.sub(r"(?<=[a-z])[SNP](?=[./]|$)", r"[0-9]+", "\n".join(re.findall(r"^\.It Pa ((?:clients|images)/.*)$", text, re.MULTILINE)))
    told = [re.compile(line.replace("NAME", "[^/]+").replace(".", r"\.")) for line in pattern.splitlines()]
    seen = []
    for folder, folders, files in os.walk(root.mnt):
        links = [name for name in folders if os.path.islink(f"{folder}/{name}")]
        seen += [os.path.relpath(f"{folder}/{name}", root.mnt) for name in files + links]
    assert len(seen) == 7
    for name in seen:
        assert any(line.fullmatch(name) for line in told), f"'{name}' is in the mount and not in docs/man/diskgate-fs.8"
    for line in told:
        assert any(line.fullmatch(name) for name in seen), f"{line.pattern} is in docs/man/diskgate-fs.8 and not in the mount"
    attributes = set(re.findall(r"^\.It Li (user\.diskgate\.\w+)", text, re.MULTILINE))
    assert attributes == set(os.listxattr(root.view("pc01")))


@pytest.mark.parametrize("page", ["diskgate.8", "diskgate-fs.8", "diskgate-migrate.8", "diskgate-backup.8"])
def test_manual_page_is_clean(repository, page):
    path = repository / "docs" / "man" / page
    checks = 0
    if shutil.which("groff"):
        command = ["groff", "-mandoc", "-Tutf8", "-ww", "-z", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        checks += 1
    if shutil.which("mandoc"):
        done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", str(path)], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        checks += 1
    if not checks:
        pytest.skip("neither groff nor mandoc is installed")


def complete(repository, programs, root, line):
    """What the completion offers at the end of a command line."""
    script = """
        diskgate() { "$PROGRAM" "$@"; }
        source "$COMPLETION"
        read -ra COMP_WORDS <<<"$LINE"
        [[ $LINE == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        compopt() { :; }
        _diskgate
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    environment = {
        **os.environ,
        "PROGRAM": str(programs.diskgate),
        "COMPLETION": str(repository / "contrib" / "completion" / "diskgate.bash"),
        "DISKGATE_ROOT": str(root.path),
        "LINE": line,
    }
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_completion_offers_the_verbs_and_options_of_the_program(repository, programs, root):
    real = verbs_of_the_program(programs)
    assert complete(repository, programs, root, "diskgate ") == {verb.split()[0] for verb in real} | {"migrate", "backup", "help"}
    for noun in {verb.split()[0] for verb in real if " " in verb}:
        verbs = {verb.split()[1] for verb in real if verb.startswith(f"{noun} ")}
        assert complete(repository, programs, root, f"diskgate {noun} ") == verbs
    for verb, (_, options) in real.items():
        offered = complete(repository, programs, root, f"diskgate {verb} --")
        assert offered == options | (COMMON - {"--dry-run"}), verb


def test_completion_offers_names_and_values(repository, programs, root):
    make_partitioned(root.files / "base.raw")
    root.ok("image", "add", "win", root.files / "base.raw")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win")
    assert complete(repository, programs, root, "diskgate client show ") == {"pc01"}
    assert complete(repository, programs, root, "diskgate client link pc01 ") == {"win"}
    assert complete(repository, programs, root, "diskgate client add pc02 --image ") == {"win"}
    assert complete(repository, programs, root, "diskgate client add pc02 --mode ") == {"volatile", "kept"}
    assert complete(repository, programs, root, "diskgate set gateway.po") == {"gateway.port"}
    keys = {row["key"] for row in json.loads(root.ok("--json", "set"))["settings"]}
    assert complete(repository, programs, root, "diskgate set ") == keys
