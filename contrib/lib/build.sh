# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Build a folder of this repository with meson. To be sourced, with the repository as the working folder.

# build_in FOLDER [MESON-OPTION]...   set up once, then compile; the compiler's output is shown only when it fails.
build_in() {
    local dir=$1 log status=0
    shift
    log=$(mktemp)
    {
        if [ -f "$dir/meson-private/coredata.dat" ]; then
            [ $# = 0 ] || meson configure "$dir" "$@"
        else
            meson setup "$dir" "$@"
        fi && meson compile -C "$dir"
    } </dev/null >"$log" 2>&1 || status=$?
    if [ "$status" != 0 ]; then
        cat "$log" >&2
        echo "The build in '$dir' failed. If the folder comes from another machine or an older version: rm -r '$dir'" >&2
    fi
    rm -f "$log"
    return "$status"
}
