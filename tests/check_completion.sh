#!/bin/bash
# SPDX-License-Identifier: MIT
# check_completion.sh TOOL: what bash offers after some beginnings of a command line.
set -u
tool=${1:?usage: check_completion.sh TOOL}
# shellcheck source=/dev/null
source "$(dirname "$0")/../tools/completion/hvtlfs.bash" || exit 1
failed=0
checks=0

# offers "WORDS..." EXPECTED...: the last word is completed; every EXPECTED is offered, and with a last
# EXPECTED of "." nothing else.
offers() {
    local line=$1 reply expected
    shift
    read -ra COMP_WORDS <<<"$line"
    [[ $line == *' ' ]] && COMP_WORDS+=("")
    COMP_WORDS[0]=$tool
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _hvtlfs 2>/dev/null
    reply=" ${COMPREPLY[*]} "
    for expected; do
        checks=$((checks + 1))
        if [[ $expected == . ]]; then
            [[ ${#COMPREPLY[@]} -eq $(($# - 1)) ]] && continue
        elif [[ $reply == *" $expected "* ]]; then
            continue
        fi
        echo "FAIL: '$line': '$expected' is not among:$reply"
        failed=1
    done
}

offers "hvtlfs " cpuid features check page reftime decode replay state --help --version
offers "hvtlfs fe" features .
offers "hvtlfs cpuid --" --features --profile --set --json
offers "hvtlfs cpuid --profile windows-1" windows-10 windows-11 .
offers "hvtlfs cpuid --features hv-vap" hv-vapic .
offers "hvtlfs cpuid --features hv-relaxed,hv-sti" hv-relaxed,hv-stimer hv-relaxed,hv-stimer-direct .
offers "hvtlfs features fre" freebsd .
offers "hvtlfs check windows-1" windows-10 windows-11 .
offers "hvtlfs check --guest l" linux .
offers "hvtlfs page --trap vm" vmcall vmmcall .
offers "hvtlfs decode h" hypercall .
offers "hvtlfs nonsense " .
echo "$checks offers, $failed failed"
exit $failed
