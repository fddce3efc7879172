#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Gets a disk out of this backup repository without Diskgate: sh, awk, dd, zstd and sha256sum are enough (tar, where a .toc is lost).
#
#   sh restore.sh                        the sets, and what is in the newest one
#   sh restore.sh SET                    what is in a set
#   sh restore.sh SET STREAM FILE        STREAM is IMAGE@VERSION, CLIENT:SLOT or catalog; SET may be "latest"
#
# FILE is a new file or a block device, which is overwritten. Every piece is checked on the way. busybox has all of these programs but zstd.
set -eu
umask 077

fail() {
    echo "restore.sh: $*" >&2
    exit 1
}

usage="usage: sh restore.sh [SET [IMAGE@VERSION|CLIENT:SLOT|catalog FILE]]"
[ $# = 0 ] || [ $# = 1 ] || [ $# = 3 ] || fail "$usage"
out=${3-}
case $out in
'' | /*) ;;
*) out=$(pwd)/$out ;;
esac
cd "$(dirname "$0")"
[ -d sets ] && [ -d packs ] || fail "'$(pwd)' is no backup repository"
chunk=$(sed -n 's/^chunk=//p' format) || fail "the file 'format' cannot be read"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# --- sets

newest() {
    for s in sets/*/set.txt; do
        [ -f "$s" ] && awk '$1 == "number" { n = $2 } $1 == "set" { s = $2 } END { print n, s }' "$s"
    done | sort -n | awk 'END { print $2 }'
}

show() {
    echo "$1:"
    awk '$1 == "stream" && $2 == "catalog" { print "    catalog" }
         $1 == "stream" && $2 == "overlay" { print "    " $3 ":" $4 "  over " $6 "@" $7 ", " $5 " bytes" }
         $1 == "stream" && ($2 == "base" || $2 == "layer") { print "    " $3 "@" $4 "  " $5 " bytes" }' "sets/$1/set.txt"
}

set_id=${1-latest}
[ "$set_id" != latest ] || set_id=$(newest)
[ -n "$set_id" ] && [ -f "sets/$set_id/set.txt" ] || fail "there is no set '$set_id'"
if [ $# = 0 ]; then
    echo "Sets:"
    for s in sets/*/set.txt; do echo "    $(basename "$(dirname "$s")")"; done
fi
if [ $# -lt 3 ]; then
    show "$set_id"
    exit 0
fi

# --- tables of contents: all of them, also of packs that have lost theirs

for p in packs/*/*.tar.zst; do
    [ -f "$p" ] || fail "there are no packs"
    t=${p%.tar.zst}.toc
    if [ ! -s "$t" ]; then
        t=$work/$(basename "$p" .tar.zst).toc
        zstd -dcq "$p" | tar -xOf - TOC >"$t" || fail "the table of contents of $p is lost"
    fi
    echo "$p $t"
done >"$work/packs"

# --- one stream

manifest_of() { # STREAM -> file name
    case $1 in
    catalog) echo catalog.manifest.zst ;;
    *@*) echo "image-${1%@*}-${1##*@}.manifest.zst" ;;
    *:*) echo "client-${1%:*}-${1##*:}.manifest.zst" ;;
    *) fail "'$1' is none of IMAGE@VERSION, CLIENT:SLOT, catalog" ;;
    esac
}

# Where each chunk lies: "NUMBER PACK OFFSET LENGTH SHA256", by pack and offset.
locate() { # BODY
    awk '
        FILENAME == body { if ($2 != "inherit") need[$2] = need[$2] " " $1; next }
        FILENAME == packs { pack[$2] = $1; next }
        ($1 in need) && NF == 5 && length($2) == 64 && !($1 in found) { found[$1] = 1
            n = split(need[$1], number, " ")
            for (i = 1; i <= n; i++) print number[i], pack[FILENAME], $3, $4, $2
        }
        END { for (name in need) if (!(name in found)) { print "chunk " name " is in no pack" >"/dev/stderr"; bad = 1 }
              exit bad }
    ' body="$1" packs="$work/packs" "$1" "$work/packs" $(awk '{ print $2 }' "$work/packs") >"$1.places" ||
        fail "pieces are missing: a pack is lost"
    sort -k2,2 -k3,3n "$1.places" >"$1.sorted"
}

# The lines with SHA-256 instead of names are what tree-sha256 is made of.
check_tree() { # BODY
    told=$(sed -n 's/^tree-sha256 //p' "$1.text")
    real=$(awk 'FILENAME == places { sha[$1] = $5; next } $2 == "inherit" { print; next } { print $1, sha[$1] }' \
        places="$1.places" "$1.places" "$1" | sha256sum | awk '{ print $1 }')
    [ "$told" = "$real" ] || fail "the pieces are not those that were backed up (tree-sha256)"
}

# Ranges of zeros, "OFFSET LENGTH" in bytes: chunks that are neither listed nor inherited.
gaps() { # BODY SIZE
    awk -v chunk="$chunk" -v size="$2" '
        function gap(to) { if (to > next_n) { a = next_n * chunk; b = to * chunk; if (b > size) b = size; printf "%.0f %.0f\n", a, b - a } }
        { n = split($1, r, "-"); gap(r[1] + 0); next_n = (n == 2 ? r[2] : r[1]) + 1 }
        END { gap(int((size + chunk - 1) / chunk)) }' "$1"
}

restore() { # STREAM DEPTH
    m=sets/$set_id/$(manifest_of "$1")
    [ -f "$m" ] || fail "the set $set_id has no '$1'"
    body=$work/$2
    zstd -dcq "$m" >"$body.text" || fail "$m is damaged"
    awk '$0 == "--" { part++; next } part == 1' "$body.text" >"$body"
    below=$(awk '$0 == "--" { exit } $1 == "backing" { print $2 "@" $3 }' "$body.text")
    if [ -n "$below" ]; then
        restore "$below" $(($2 + 1))
        body=$work/$2 # its variables are ours
        below=yes
    fi
    size=$(awk '$0 == "--" { exit } $1 == "size" { print $2 }' "$body.text")
    locate "$body"
    check_tree "$body"
    if [ ! -b "$out" ]; then # dd makes it this long
        dd if=/dev/null of="$out" bs=1 count=0 seek="$size" 2>/dev/null || fail "cannot write '$out'"
    fi
    if [ -n "$below" ] || [ -b "$out" ]; then
        gaps "$body" "$size" | while read -r off len; do
            dd if=/dev/zero of="$out" bs="$chunk" seek="$off" count="$len" oflag=seek_bytes iflag=count_bytes,fullblock \
                conv=notrunc 2>/dev/null || fail "cannot write '$out'"
        done
    fi
    while read -r n pack off len sha; do
        dd if="$pack" bs=65536 skip="$off" count="$len" iflag=skip_bytes,count_bytes,fullblock 2>/dev/null | zstd -dcq >"$work/chunk" ||
            fail "chunk $n of '$1' in $pack is damaged"
        [ "$(sha256sum <"$work/chunk")" = "$sha  -" ] || fail "chunk $n of '$1' in $pack is damaged"
        dd if="$work/chunk" of="$out" bs="$chunk" seek="$n" conv=notrunc 2>/dev/null || fail "cannot write '$out'"
    done <"$body.sorted"
}

(cd "sets/$set_id" && sha256sum -c SHA256SUMS >/dev/null) || fail "the set $set_id is damaged"
if [ -s "$out" ] && [ ! -b "$out" ]; then
    fail "'$out' is there already; give the name of a new file"
fi
restore "$2" 0
sync
echo "restored '$2' of $set_id to '$out'"
