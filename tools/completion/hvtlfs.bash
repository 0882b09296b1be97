# SPDX-License-Identifier: MIT
# Completion of the command hvtlfs in bash. Everything but the arguments of a few options comes from
# what the command says of itself, so that there is nothing to keep up to date.

# The words that begin a line of `hvtlfs [VERB] --help` after two blanks: verbs, or options.
_hvtlfs_words() {
    "$1" ${2:+"$2"} --help 2>/dev/null | sed -n 's/^  \([a-z-][a-z-]*\) .*/\1/p'
}

# The names in one part of `hvtlfs features`: "features" or "profiles".
_hvtlfs_names() {
    "$1" features --json 2>/dev/null | sed 's/.*"'"$2"'":\[//; s/"profiles":.*//' |
        grep -o '{"name":"[a-z0-9-]*"' | sed 's/.*:"\(.*\)"/\1/'
}

_hvtlfs_list() {
    local tool=$1 word=$2 done=
    [[ $word == *,* ]] && done=${word%,*},
    mapfile -t COMPREPLY < <(compgen -P "$done" -W "$(_hvtlfs_names "$tool" features | sed 's/^/hv-/')" \
        -- "${word##*,}")
    compopt -o nospace 2>/dev/null
}

_hvtlfs() {
    local tool=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local verb=${COMP_WORDS[1]} words=
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_hvtlfs_words "$tool") --help --version" -- "$word")
        return
    fi
    case $before in
    --features) _hvtlfs_list "$tool" "$word"; return ;;
    --profile) words=$(_hvtlfs_names "$tool" profiles) ;;
    --trap) words="none vmcall vmmcall custom" ;;
    --guest) words="windows linux freebsd all" ;;
    *)
        case $verb:$word in
        *:-*) words=$(_hvtlfs_words "$tool" "$verb") ;;
        features:*) words=$(_hvtlfs_names "$tool" profiles) ;;
        check:hv-*) _hvtlfs_list "$tool" "$word"; return ;;
        check:*) words="$(_hvtlfs_names "$tool" profiles) $(compgen -f -- "$word")" ;;
        decode:*) [[ $COMP_CWORD -eq 2 ]] && words="os-id msr hypercall status cpuid" ;;
        replay:* | state:*) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -o filenames -F _hvtlfs hvtlfs
