#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Gets a disk out of this backup repository without Diskgate: sh, dd and zstd are enough (and tar, where a .toc is lost). With awk, sed, sort,
# sha256sum, mktemp, rm and basename it is faster, and every piece is checked by SHA-256 as well.
#
#   sh restore.sh                        the sets, and what is in the newest one
#   sh restore.sh SET                    what is in a set
#   sh restore.sh SET STREAM FILE        STREAM is IMAGE@VERSION, CLIENT:SLOT or catalog; SET may be "latest"
#
# FILE is a new file or a block device, which is overwritten. busybox has all of these programs but zstd.
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
case $0 in
*/*) cd "${0%/*}/" ;;
esac
[ -d sets ] && [ -d packs ] || fail "'$(pwd)' is no backup repository"
chunk=
while IFS== read -r key value; do
    [ "$key" != chunk ] || chunk=$value
done <format || fail "the file 'format' cannot be read"
[ -n "$chunk" ] || fail "the file 'format' is damaged"

manifest_of() { # STREAM -> file name
    case $1 in
    catalog) echo catalog.manifest.zst ;;
    *@*) echo "image-${1%@*}-${1##*@}.manifest.zst" ;;
    *:*) echo "client-${1%:*}-${1##*:}.manifest.zst" ;;
    *) fail "'$1' is none of IMAGE@VERSION, CLIENT:SLOT, catalog" ;;
    esac
}

must_be_new() {
    if [ -s "$out" ] && [ ! -b "$out" ]; then
        fail "'$out' is there already; give the name of a new file"
    fi
}

# --- with sh, dd and zstd alone

plain_newest() {
    top=0
    for s in sets/*/set.txt; do
        [ -f "$s" ] || continue
        while read -r key value; do
            if [ "$key" = number ] && [ "$value" -ge "$top" ]; then
                top=$value
                set_id=${s#sets/}
            fi
        done <"$s"
    done
    set_id=${set_id%/set.txt}
}

plain_show() {
    for s in sets/*/; do echo "    ${s#sets/}"; done
    echo "$set_id:"
    while read -r key kind name number size rest; do
        [ "$key" = stream ] || continue
        case $kind in
        catalog) echo "    catalog" ;;
        overlay) echo "    $name:$number  over ${rest% *}@${rest#* }, $size bytes" ;;
        *) echo "    $name@$number  $size bytes" ;;
        esac
    done <"sets/$set_id/set.txt"
}

is_name() {
    case $1 in
    *[!0-9a-f.]* | *.*.* | '') return 1 ;;
    esac
}

is_number() {
    case $1 in
    *[!0-9]* | '') return 1 ;;
    esac
}

# A raw file is as long as the one that was backed up, also where that was no multiple of a sector. A VHD is restored as the disk in it.
cut_file() { # STREAM
    f=sets/$set_id/$(manifest_of "$1")
    f=${f%.manifest.zst}.file
    [ -f "$f" ] && [ ! -b "$out" ] || return 0
    data='' tail=''
    while read -r key value; do
        case $key in
        data) data=$value ;;
        tail) tail=$value ;;
        esac
    done <"$f"
    [ -z "$tail" ] || return 0
    is_number "$data" || fail "$f is damaged"
    dd if=/dev/null of="$out" bs=1 count=0 seek="$data" 2>/dev/null || fail "cannot write '$out'"
}

var_of() { # NAME -> var
    case $1 in
    *.*) var=${1%.*}_${1#*.} ;;
    *) var=$1 ;;
    esac
}

# A line of a table of contents: of what is needed the place is kept in a variable of the shell.
plain_take() { # PACK NAME SHA256 OFFSET CLEN LEN
    [ $# = 6 ] && is_name "$2" && is_number "$4" && is_number "$5" && is_number "$6" || return 0
    var_of "$2"
    eval "want=\${need_$var-}"
    [ -z "$want" ] || eval "at_$var='$4 $5 $1'"
}

plain_table() { # PACK
    t=${1%.tar.zst}.toc
    if [ -s "$t" ]; then
        while read -r line; do plain_take "$1" $line; done <"$t"
    else
        while read -r line; do plain_take "$1" $line; done <<END
$(zstd -dcq "$1" 2>/dev/null | tar -xOf - TOC)
END
    fi
}

plain_zeros() { # FROM TO (chunks)
    to=$(($2 * chunk))
    [ "$to" -le "$size" ] || to=$size
    dd if=/dev/zero of="$out" bs="$chunk" seek="$(($1 * chunk))" count="$((to - $1 * chunk))" oflag=seek_bytes \
        iflag=count_bytes,fullblock conv=notrunc 2>/dev/null || fail "cannot write '$out'"
}

plain_chunk() { # NUMBER NAME
    is_number "$1" && is_name "$2" || fail "$m is damaged"
    var_of "$2"
    eval "place=\${at_$var-}"
    [ -n "$place" ] || fail "chunk $2 is in no pack"
    off=${place%% *} place=${place#* }
    bad=$({ dd if="${place#* }" bs=65536 skip="$off" count="${place%% *}" iflag=skip_bytes,count_bytes,fullblock 2>/dev/null |
        { zstd -dcq 2>/dev/null || echo damaged >&3; } |
        { dd of="$out" bs="$chunk" seek="$1" iflag=fullblock conv=notrunc 2>/dev/null || echo unwritten >&3; }; } 3>&1)
    [ -z "$bad" ] || fail "chunk $1 in ${place#* } is damaged, or '$out' cannot be written"
}

plain_body() { # the manifest again; $size and $below are known
    part=0 next=0
    while read -r n name; do
        if [ "$n" = -- ]; then
            part=$((part + 1))
        elif [ $part = 1 ]; then
            first=${n%-*} last=${n#*-}
            [ -z "$fill" ] || [ "$first" -le "$next" ] || plain_zeros "$next" "$first"
            [ "$name" = inherit ] || plain_chunk "$n" "$name"
            next=$((last + 1))
        elif [ "$n" = end ]; then
            last=$(((size + chunk - 1) / chunk))
            [ -z "$fill" ] || [ "$next" -ge "$last" ] || plain_zeros "$next" "$last"
            exit 0
        fi
    done
    fail "$m is damaged"
}

# What stands behind the pipe is a shell of its own: variables of one disk do not stay for the next one.
plain_restore() { # STREAM
    m=sets/$set_id/$(manifest_of "$1")
    [ -f "$m" ] || fail "the set $set_id has no '$1'"
    zstd -dcq "$m" >/dev/null 2>&1 || fail "$m is damaged"
    zstd -dcq "$m" | {
        part=0 size= fill= below=
        while read -r key a b; do
            case $part$key in
            0backing) below="$a@$b" ;;
            0size) size=$a ;;
            ?--) part=$((part + 1)) ;;
            1*)
                if [ "$a" != inherit ]; then
                    is_name "$a" || fail "$m is damaged"
                    var_of "$a"
                    eval "need_$var=1"
                fi
                ;;
            esac
        done
        is_number "$size" || fail "$m is damaged"
        if [ -n "$below" ]; then
            (plain_restore "$below") || exit 1
            fill=yes
        elif [ -b "$out" ]; then
            fill=yes
        fi
        [ -b "$out" ] || dd if=/dev/null of="$out" bs=1 count=0 seek="$size" 2>/dev/null || fail "cannot write '$out'"
        for p in packs/*/*.tar.zst; do plain_table "$p"; done
        zstd -dcq "$m" | plain_body
    } || exit 1
}

plain() { # SET [STREAM]
    set_id=$1
    [ "$set_id" != latest ] || plain_newest
    [ -f "sets/$set_id/set.txt" ] || fail "there is no set '$set_id'"
    if [ -z "${2-}" ]; then
        plain_show
        return
    fi
    must_be_new
    plain_restore "$2"
    cut_file "$2"
    dd if=/dev/null of="$out" bs=1 count=0 conv=notrunc,fsync 2>/dev/null || fail "cannot write '$out'"
    echo "restored '$2' of $set_id to '$out' (without awk and sha256sum only zstd's check sums were looked at)"
}

for program in awk sed sort sha256sum mktemp rm basename; do
    if ! command -v $program >/dev/null; then
        plain "${1-latest}" "${2-}"
        exit 0
    fi
done

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
    for s in sets/*/; do echo "    $(basename "$s")"; done
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

# One of its files alone: damage of another disk's list is no reason to give none back.
is_whole() { # FILE
    (cd "sets/$set_id" && awk -v file="$1" '$2 == file' SHA256SUMS | sha256sum -c - >/dev/null 2>&1)
}

restore() { # STREAM DEPTH
    m=sets/$set_id/$(manifest_of "$1")
    [ -f "$m" ] || fail "the set $set_id has no '$1'"
    is_whole "${m##*/}" || fail "$m is damaged"
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

is_whole set.txt || fail "the set $set_id is damaged"
must_be_new
restore "$2" 0
shape=$(manifest_of "$2")
shape=${shape%.manifest.zst}.file
if [ -f "sets/$set_id/$shape" ]; then
    is_whole "$shape" || fail "sets/$set_id/$shape is damaged"
fi
cut_file "$2"
sync
echo "restored '$2' of $set_id to '$out'"
