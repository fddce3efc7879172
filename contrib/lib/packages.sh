# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The Debian packages that this repository needs, in one place, and how the scripts of contrib/ and .ci/ get them.
# To be sourced; prints only what an administrator wants to know. Nothing here is done twice: what is there is left alone.
#
#   packages_install build proof      install what is missing of these sets
#
# Sets: build (compile), run (the programs' own needs), proof (quickstart: a real initiator, the sample image),
# test (contrib/check), fuzz (tests/fuzz/run), bench (tests/bench), ci (.ci/run).

packages_of() {
    case $1 in
    build) echo build-essential meson ninja-build pkg-config libfuse3-dev libsqlite3-dev libxxhash-dev \
        libjansson-dev libblkid-dev libmicrohttpd-dev libcmocka-dev libarchive-dev libzstd-dev libssl-dev mdbtools-dev libseccomp-dev libunistring-dev ;;
    run) echo tgt fuse3 dnsmasq-base ipxe ;;
    proof) echo qemu-utils qemu-block-extra e2fsprogs fdisk ntfs-3g python3 ;;
    test) echo zstd xxhash libarchive-tools openssl python3-pytest python3-pytest-timeout python3-pytest-xdist libiscsi-bin libiscsi-dev attr groff-base shellcheck \
        nbdkit libnbd-bin xfsprogs \
        iproute2 qemu-system-x86 ipxe-qemu ovmf gdisk mtools dosfstools grub-pc-bin grub-efi-amd64-bin grub-common kmod cpio \
        kea-dhcp4-server isc-dhcp-server ;;
    bench) echo restic borgbackup casync zstd libarchive-tools mdbtools sqlite3 fio libiscsi-dev qemu-system-common qemu-utils nbdkit libnbd-bin strace linux-perf ;;
    fuzz) echo clang libclang-rt-14-dev ;;
    ci) echo git ca-certificates clang libclang-rt-14-dev ;;
    *) echo "packages: there is no set '$1'" >&2 && return 2 ;;
    esac
}

package_is_there() {
    case $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) in
    installed) return 0 ;;
    *) return 1 ;;
    esac
}

packages_missing() {
    local set name
    for set in "$@"; do
        for name in $(packages_of "$set"); do
            package_is_there "$name" || printf '%s ' "$name"
        done
    done
}

packages_install() {
    local missing
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "This system has no apt-get. Please see to it that these are installed (names as in Debian):" >&2
        for set in "$@"; do packages_of "$set"; done >&2
        return 0
    fi
    missing=$(packages_missing "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "These packages are missing and only root can install them: $missing" >&2
        return 1
    fi
    echo "Installing the packages that are missing: $missing"
    # The lists may be old or absent on a fresh machine; one that cannot be fetched does not matter if the packages come.
    apt_get update || echo "The package lists could not be fetched; trying with those that are here." >&2
    # shellcheck disable=SC2086 # a list of names
    apt_get install --no-install-recommends $missing || {
        echo "The packages could not be installed; apt-get has said why above." >&2
        return 1
    }
}

# apt-get without questions; its chatter is shown only when it fails. Waits for another apt-get.
apt_get() {
    local log status=0
    log=$(mktemp)
    DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@" \
        </dev/null >"$log" 2>&1 || status=$?
    [ "$status" = 0 ] || cat "$log" >&2
    rm -f "$log"
    return "$status"
}
