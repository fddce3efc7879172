# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Build a folder of this repository with meson. To be sourced, with the repository as the working folder.

# build_in FOLDER [MESON-OPTION]...   set up once, then compile; the compiler's output is shown only when it fails.
# Two builds at once wait for each other.
build_in() {
    local dir=$1 log status=0
    log=$(mktemp)
    (flock 9 && set_up_and_compile "$@" 9<&-) 9<meson.build </dev/null >"$log" 2>&1 || status=$?
    if [ "$status" != 0 ]; then
        cat "$log" >&2
        echo "The build in '$dir' failed. If the folder comes from another machine or an older version: rm -r '$dir'" >&2
    fi
    rm -f "$log"
    return "$status"
}

set_up_and_compile() {
    local dir=$1
    shift
    if [ ! -f "$dir/meson-private/coredata.dat" ]; then
        meson setup "$dir" "$@" || return
    elif [ $# != 0 ]; then
        meson configure "$dir" "$@" || return
    fi
    meson compile -C "$dir"
}
