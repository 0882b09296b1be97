#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh [--quick | --full]
#
# Check the proofs of reference time: the lemmas with z3 and cvc5, the page's protocol with spin, the
# theorems with coq, the C multiplication with Frama-C; and the lemma on counting bits. (Those of the
# parsers are in parsers.sh.) --quick leaves out coq and Frama-C; --full adds the large protocol models. What is not installed is left out and named; exit status 77 if nothing is.
# Each line says what was checked and what it came to; the last line counts.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
mode=${1:---normal}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
absent=

have() {
    command -v "$1" >/dev/null 2>&1 || { absent="$absent $1"; return 1; }
}

. "$here/verdict.sh"

# Every check-sat of a lemma must answer unsat: there is no counterexample.
lemma() {
    file=$1
    shift
    wanted=$(grep -c '^(check-sat)' "$file")
    "$@" "$file" >"$work/answers" 2>&1
    proven=$(grep -cx unsat "$work/answers")
    others=$(grep -cvx unsat "$work/answers")
    good=no
    [ "$wanted" -gt 0 ] && [ "$proven" -eq "$wanted" ] && [ "$others" -eq 0 ] && good=yes
    verdict $good "$(basename "$file") with $1" "$proven of $wanted steps"
}

lemmas() {
    for file in "$here"/*.smt2; do
        have z3 && lemma "$file" z3 -T:120
        # Sums of bits are too much for cvc5.
        [ "$(basename "$file")" = count_bits.smt2 ] && continue
        have cvc5 && lemma "$file" cvc5 --incremental --tlimit=120000
    done
}

# protocol WANTED DEFINES...: errors wanted (0 or 1) in the model
protocol() {
    wanted=$1
    shift
    (
        cd "$work" && rm -f pan pan.* && spin -a "$@" "$here/tscpage.pml" &&
            ${CC:-cc} -O2 -w -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m500000 -n
    ) >"$work/protocol.log" 2>&1
    errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$work/protocol.log")
    states=$(sed -n 's/ *\([0-9]*\) states, stored.*/\1/p' "$work/protocol.log")
    good=no
    [ "${errors:-none}" = "$wanted" ] && good=yes
    # A search that was cut short proves nothing.
    if [ "$wanted" = 0 ] && grep -q 'max search depth too small\|out of memory' "$work/protocol.log"; then
        good=no
    fi
    verdict $good "tscpage.pml${*:+ $*} with spin" "${errors:-no} errors, $wanted wanted, ${states:-no} states"
}

protocols() {
    have spin && have "${CC:-cc}" || return
    protocol 0
    protocol 0 -DWEAK
    protocol 0 -DWEAK -DRELAXED_BODY
    for memory in -DTSO -DWEAK; do
        for broken in BUMP_ONLY SAME_SEQUENCE NO_FENCE LATE_TSC REACH_VALID REACH_FALLBACK \
            REACH_RETRY; do
            protocol 1 $memory -D$broken
        done
    done
    protocol 1 -DWEAK -DRELAXED_SEQUENCE
    protocol 1 -DWEAK -DRELAXED_LOADS
    if [ "$mode" = --full ]; then
        protocol 0 -DUPDATES=3
        protocol 0 -DWEAK -DUPDATES=3
        protocol 0 -DWEAK -DRELAXED_BODY -DUPDATES=3
    fi
}

# All theorems hold, and none rests on an axiom.
theorems() {
    have coqc || return
    cp "$here/reftime.v" "$work/"
    (cd "$work" && coqc reftime.v) >"$work/coq.log" 2>&1 || { verdict no reftime.v "coqc failed"
        cat "$work/coq.log"; return; }
    wanted=$(grep -c '^Print Assumptions' "$here/reftime.v")
    closed=$(grep -c '^Closed under the global context' "$work/coq.log")
    good=no
    [ "$wanted" -gt 0 ] && [ "$closed" -eq "$wanted" ] && good=yes
    verdict $good "reftime.v with coq" "$closed of $wanted theorems without axioms"
}

c_code() {
    have frama-c && have why3 && have z3 && have cvc4 || return
    # The list of provers is written into the home directory: not into the user's.
    HOME=$work why3 config detect >/dev/null 2>&1
    HOME=$work frama-c -wp -wp-rte -warn-unsigned-overflow -wp-fct mul_u64_hi \
        -wp-prover z3,cvc4 -wp-timeout 60 -cpp-extra-args="-I$source_dir/include" \
        "$source_dir/src/reftime.c" >"$work/wp.log" 2>&1
    goals=$(sed -n 's/.*Proved goals: *\([0-9]* \/ [0-9]*\).*/\1/p' "$work/wp.log")
    good=no
    [ -n "$goals" ] && [ "${goals%% /*}" = "${goals##*/ }" ] && good=yes
    verdict $good "mul_u64_hi with Frama-C" "${goals:-no} goals"
}

lemmas
protocols
if [ "$mode" != --quick ]; then
    theorems
    c_code
fi
absent=$(for name in $absent; do echo "$name"; done | sort -u | tr '\n' ' ')
echo "$passed passed, $failed failed${absent:+; not installed: $absent}"
[ $((passed + failed)) -gt 0 ] || exit 77
[ "$failed" -eq 0 ]
