# SPDX-License-Identifier: GPL-2.0-or-later
"""The micro image: a small Debian disk that boots by BIOS and UEFI from iSCSI; see micro-image/README.md.

Debian's packages are fetched by apt-get and kept in a cache by their version; the disk is put together from files alone."""

import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import struct
import subprocess

PROGRAMS = ("apt-get", "apt-cache", "dpkg-deb", "depmod", "modprobe", "cpio", "gzip", "sgdisk", "mke2fs", "tune2fs", "mkfs.vfat", "mmd", "mcopy", "grub-mkimage")
KERNEL = "linux-image-cloud-amd64"
PACKAGES = ("busybox-static", "open-iscsi", "libopeniscsiusr", "libisns0")
MODULES = ("virtio_pci", "virtio_net", "virtio_rng", "crc32c", "crc32c_generic", "iscsi_tcp", "iscsi_ibft", "sd_mod", "ext4")
GRUB_MODULES = ("part_gpt", "ext2", "normal", "configfile", "linux", "echo", "serial", "terminal", "search", "search_label", "test")
SOURCE = pathlib.Path(__file__).resolve().parent / "micro-image"
SIZE = "64M"
SECTOR = 512


class Unavailable(Exception):
    """The image cannot be made here; the text says what is missing."""


def run(*command, **options):
    options.setdefault("timeout", 120)
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command[:3]} -> {done.returncode}: {done.stderr.strip()[-600:]}")
    return done.stdout


# --- packages ---


def kernel_package():
    found = re.search(r"Depends: (linux-image-[0-9]\S+)", run("apt-cache", "depends", KERNEL))
    if not found:
        raise Unavailable(f"apt knows no {KERNEL}")
    return found[1]


def versions_of(packages):
    """["NAME=VERSION"] of what apt would install."""
    found = dict(re.findall(r"^(\S+):\n(?:  .*\n)*?  Candidate: (\S+)", run("apt-cache", "policy", *packages), re.MULTILINE))
    for name in packages:
        if found.get(name, "(none)") == "(none)":
            raise Unavailable(f"apt has no package {name}")
    return [f"{name}={found[name]}" for name in packages]


def fetch(cache):
    """The packages, unpacked; one folder for each set of versions."""
    versions = versions_of([kernel_package(), *PACKAGES])
    tree = cache / re.sub(r"[^\w.=+-]", "_", "micro-" + versions[0])
    stamp = tree / "complete"
    if stamp.exists() and stamp.read_text().split() == versions:
        return tree
    work = cache / f"fetch.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "deb").mkdir(parents=True)
    try:
        run("apt-get", "-o", "APT::Sandbox::User=root", "download", *versions, cwd=work / "deb", timeout=240)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(work, ignore_errors=True)
        raise Unavailable(f"Debian's packages cannot be fetched: {error}") from error
    for package in (work / "deb").iterdir():
        run("dpkg-deb", "-x", package, work)
    shutil.rmtree(work / "deb")
    (work / "complete").write_text("\n".join(versions))
    shutil.rmtree(tree, ignore_errors=True)
    work.rename(tree)
    return tree


# --- the two file systems ---


def copy_program(tree, name, folder):
    """A program with the libraries and the loader that it needs."""
    target = folder / "sbin" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(tree / "sbin" / name, target)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tree / "usr/lib/x86_64-linux-gnu")}
    listing = run("ldd", target, env=environment)
    if "not found" in listing:
        raise Unavailable(f"libraries of {name} are missing here: {listing}")
    for path in re.findall(r"(/\S+) \(0x", listing):
        place = folder / ("lib64" if "ld-linux" in path else "lib/x86_64-linux-gnu")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(path), place / os.path.basename(path))


def copy_busybox(tree, folder):
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy2(tree / "bin" / "busybox", folder / "bin" / "busybox")


def module_files(tree):
    version = next((tree / "lib" / "modules").iterdir()).name
    run("depmod", "-b", tree, version)
    files = []
    for name in MODULES:  # one by one: what is built in says so, what the kernel has not is left out
        done = subprocess.run(["modprobe", "-S", version, "-d", str(tree), "--show-depends", name], capture_output=True, text=True, check=False)
        files += [path for path in re.findall(r"^insmod (\S+)", done.stdout, re.MULTILINE) if path not in files]
    assert any(path.endswith("iscsi_tcp.ko") for path in files)
    return files


def make_initramfs(tree, work):
    folder = work / "initramfs"
    copy_busybox(tree, folder)
    copy_program(tree, "iscsistart", folder)
    names = []
    for path in module_files(tree):
        shutil.copy2(path, folder / "lib")
        names.append(os.path.basename(path))
    (folder / "lib" / "modules.list").write_text("\n".join(names) + "\n")
    shutil.copy2(SOURCE / "initramfs-init", folder / "init")
    (folder / "init").chmod(0o755)
    output = work / "initrd"
    subprocess.run(f"find . | cpio -o -H newc --quiet | gzip -4 >'{output}'", shell=True, cwd=folder, check=True, timeout=60)
    return output


def make_root(tree, work):
    folder = work / "rootfs"
    copy_busybox(tree, folder)
    copy_program(tree, "iscsid", folder)
    for name in run(folder / "bin" / "busybox", "--list").split():
        if not (folder / "bin" / name).exists():
            (folder / "bin" / name).symlink_to("busybox")
    for name in ("proc", "sys", "dev", "run", "etc/iscsi/nodes", "etc/iscsi/send_targets", "var/lib/e2e", "boot/grub"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/iscsi/iscsid.conf").write_text("node.session.timeo.replacement_timeout = 120\n")
    (folder / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    shutil.copy2(SOURCE / "root-init", folder / "sbin" / "init")
    (folder / "sbin" / "init").chmod(0o755)
    shutil.copy2(next((tree / "boot").glob("vmlinuz-*")), folder / "boot" / "vmlinuz")
    shutil.copy2(make_initramfs(tree, work), folder / "boot" / "initrd")
    shutil.copy2(SOURCE / "grub.cfg", folder / "boot" / "grub" / "grub.cfg")
    return folder


# --- the disk ---


def partition(image, number):
    """(first sector, count)"""
    text = run("sgdisk", "-i", number, image)
    first = int(re.search(r"First sector: (\d+)", text)[1])
    return first, int(re.search(r"Last sector: (\d+)", text)[1]) - first + 1


def write_at(image, offset, data):
    with open(image, "r+b") as file:
        file.seek(offset)
        file.write(data)


def write_root(image, folder):
    first, count = partition(image, 3)
    options = f"offset={first * SECTOR},lazy_itable_init=0,nodiscard"
    run("mke2fs", "-q", "-t", "ext4", "-L", "e2eroot", "-d", folder, "-O", "^metadata_csum_seed,^has_journal", "-b", 4096, "-E", options, image, count // 8)
    run("tune2fs", "-O", "has_journal", "-J", "size=4", f"{image}?offset={first * SECTOR}")


def write_esp(image, work):
    first, count = partition(image, 2)
    loader, esp = work / "BOOTX64.EFI", work / "esp"
    run("grub-mkimage", "-O", "x86_64-efi", "-c", SOURCE / "early.cfg", "-p", "/boot/grub", "-o", loader, *GRUB_MODULES)
    with open(esp, "wb") as file:
        file.truncate(count * SECTOR)
    run("mkfs.vfat", "-F16", "-s", 4, "-n", "ESP", esp)
    run("mmd", "-i", esp, "::EFI", "::EFI/BOOT")
    run("mcopy", "-i", esp, loader, "::EFI/BOOT/")
    run("dd", f"if={esp}", f"of={image}", "bs=1M", f"seek={first * SECTOR >> 20}", "conv=notrunc,sparse")


def write_bios_loader(image, work):
    """What grub-bios-setup does: boot.img finds core.img, core.img finds its own rest."""
    first, count = partition(image, 1)
    path = work / "core.img"
    run("grub-mkimage", "-O", "i386-pc", "-c", SOURCE / "early.cfg", "-p", "/boot/grub", "-o", path, "biosdisk", *GRUB_MODULES)
    core = bytearray(path.read_bytes())
    assert len(core) <= count * SECTOR
    struct.pack_into("<Q", core, 500, first + 1)
    boot = bytearray(pathlib.Path("/usr/lib/grub/i386-pc/boot.img").read_bytes())
    struct.pack_into("<Q", boot, 0x5C, first)
    boot[0x66:0x68] = b"\x90\x90"
    write_at(image, 0, boot[:440])
    write_at(image, 510, b"\x55\xaa")
    write_at(image, first * SECTOR, core)


def build(image, work, cache):
    """Make the disk as file `image`; `work` is a folder for what lies in between."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    for path in ("/usr/lib/grub/i386-pc/boot.img", "/usr/lib/grub/x86_64-efi/modinfo.sh"):
        missing += [] if os.path.exists(path) else [path]
    if missing:
        raise Unavailable(f"not installed: {', '.join(missing)}")
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:  # one makes it, the others wait for it
        fcntl.flock(lock, fcntl.LOCK_EX)
        tree = fetch(cache)
        made = cache / f"{tree.name}-{key()}.raw"
        if not made.exists():
            for old in cache.glob("micro-*.raw"):
                old.unlink()
            make(work / "micro.raw", work, tree)
            run("cp", "--sparse=always", work / "micro.raw", f"{made}.part")
            os.rename(f"{made}.part", made)
        run("cp", "--sparse=always", "--reflink=auto", made, image)
    os.chmod(image, 0o644)
    return image


def key():
    """Changes with everything here that the image is made from."""
    digest = hashlib.sha256(pathlib.Path(__file__).read_bytes())
    for path in sorted(SOURCE.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def make(image, work, tree):
    folder = make_root(tree, work)
    run("truncate", "-s", SIZE, image)
    run("sgdisk", "-a", 2048, "-n1:2048:+1M", "-t1:ef02", "-n2:0:+16M", "-t2:ef00", "-n3:0:0", "-t3:8300", "-c3:e2eroot", image)
    write_root(image, folder)
    write_esp(image, work)
    write_bios_loader(image, work)
    write_at(image, 447, b"\x00\x02\x00")  # sgdisk's end CHS makes iPXE guess 6 sectors a track, and GRUB read 3 KiB at a time
    write_at(image, 451, b"\xff\xff\xff")
