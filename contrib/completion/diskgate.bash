# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of diskgate for bash. Verbs and options come from the program's own table (diskgate --list-verbs: "NOUN VERB", arguments,
# options, separated by tabs), so this file never lags behind it. Names of images and clients come from its lists.
#
# Install as /usr/share/bash-completion/completions/diskgate, or source it.

# Names in the first column of a list; nothing where the root cannot be read.
_diskgate_names()
{
    diskgate "${root[@]}" "$1" list 2>/dev/null | awk 'NR > 1 { print $1 }'
}

# Words for argument number $2 of the arguments $1 ("NAME IMG[@V]") of noun $3.
_diskgate_argument()
{
    local -a args
    read -ra args <<<"$1"
    case ${args[$2]-} in
    NAME | OLD | '[NAME]' | 'NAME[@N]') [[ $3 == client || $3 == image ]] && _diskgate_names "$3" ;;
    CLIENT) _diskgate_names client ;;
    IMG*) _diskgate_names image ;;
    '[KEY') diskgate "${root[@]}" set 2>/dev/null | awk 'NR > 1 { print $1 }' ;;
    esac
}

_diskgate()
{
    local cur prev words cword table verb='' noun='' row args options word i n=0 skip=
    local -a root=()
    if declare -F _init_completion >/dev/null; then
        _init_completion -n = || return
    else
        words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    fi
    COMPREPLY=()
    table=$(diskgate --list-verbs 2>/dev/null) || return

    for ((i = 1; i < cword; i++)); do
        word=${words[i]}
        if [[ $skip ]]; then
            [[ $skip == root ]] && root=(--root "$word")
            skip=
        elif [[ $word == --root ]]; then
            skip=root
        elif [[ $word == --* && $word != *=* && "$options" == *"$word="* ]]; then
            skip=value
        elif [[ $word == -* ]]; then
            :
        elif [[ $verb ]]; then
            ((++n))
        else
            row=$(grep -m1 -P "^${noun:+$noun }$word\t" <<<"$table")
            if [[ $row ]]; then
                verb=$word
                IFS=$'\x1f' read -r _ args options <<<"${row//$'\t'/$'\x1f'}"
            elif [[ ! $noun ]]; then
                noun=$word
            fi
        fi
    done

    case $skip in
    root)
        compopt -o dirnames
        return
        ;;
    value)
        case $prev in
        --image | --boot-default) COMPREPLY=($(compgen -W "$(_diskgate_names image)" -- "$cur")) ;;
        --disabled | --hidden) COMPREPLY=($(compgen -W 'on off' -- "$cur")) ;;
        --mode) COMPREPLY=($(compgen -W 'volatile kept' -- "$cur")) ;;
        --format) COMPREPLY=($(compgen -W 'raw vhd vhdx vmdk vdi qcow2' -- "$cur")) ;;
        --search) compopt -o dirnames ;;
        esac
        return
        ;;
    esac

    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "${options//=/} --root --json --quiet --verbose --help --version" -- "$cur"))
    elif [[ $verb ]]; then
        COMPREPLY=($(compgen -W "$(_diskgate_argument "$args" "$n" "$noun")" -- "$cur"))
        [[ $(cut -d' ' -f$((n + 1)) <<<"$args") == FILE ]] && compopt -o default
    elif [[ $noun ]]; then
        COMPREPLY=($(compgen -W "$(awk -F'\t' -v n="$noun" '{ split($1, w, " ") } w[2] && w[1] == n { print w[2] }' <<<"$table")" -- "$cur"))
    else
        COMPREPLY=($(compgen -W "$(awk '{ print $1 }' FS='[ \t]' <<<"$table" | sort -u) migrate backup help" -- "$cur"))
    fi
}

complete -F _diskgate diskgate
