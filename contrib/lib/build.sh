# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Build a folder of this repository with meson. To be sourced, with the repository as the working folder.

# build_in FOLDER [MESON-OPTION]...   set up once, then compile; what is said is shown only when it fails.
# set_up_in FOLDER [MESON-OPTION]...  no more than set it up, with the compiler $CC, which it keeps.
# Two builds of a folder at once wait for each other.
build_in() {
    in_folder set_up_and_compile "$@"
}

set_up_in() {
    in_folder set_up "$@"
}

in_folder() { # FUNCTION FOLDER [MESON-OPTION]...
    local dir=$2 log status=0
    log=$(mktemp)
    mkdir -p "$dir"
    (flock 9 && "$@" 9<&-) 9<"$dir" </dev/null >"$log" 2>&1 || status=$?
    if [ "$status" != 0 ]; then
        cat "$log" >&2
        echo "The build in '$dir' failed. If the folder comes from another machine or an older version: rm -r '$dir'" >&2
    fi
    rm -f "$log"
    return "$status"
}

set_up() {
    local dir=$1
    shift
    if [ ! -f "$dir/meson-private/coredata.dat" ]; then
        meson setup "$dir" "$@"
    elif [ $# != 0 ]; then
        meson configure "$dir" "$@"
    fi
}

set_up_and_compile() {
    set_up "$@" && meson compile -C "$1"
}
