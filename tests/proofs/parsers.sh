#!/bin/sh
# SPDX-License-Identifier: MIT
# parsers.sh [--quick | --full]
#
# Check with Frama-C that the parsers have no run-time error, whatever their input and however long, and
# that their loops end: WP, by the annotations in src/. Then break the code, a bound at a time, and see the
# proof fail. --quick does that with a few functions, in some seconds; --full proves all but
# hvtlfs_paste() for a machine of 32 bits too. docs/SECURITY.md says what is proven. Exit status 77 where a tool is
# missing.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
mode=${1:---normal}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
machine=gcc_x86_64

for tool in frama-c why3 z3 cvc4; do
    command -v "$tool" >/dev/null 2>&1 && continue
    echo "skipped: $tool is not installed (Debian: frama-c-base why3 z3 cvc4)"
    exit 77
done
# The list of provers is written into the home directory: not into the user's.
HOME=$work why3 config detect >/dev/null 2>&1

slices=slice_is,slice_trim,slice_cut,digit_of,slice_to_u32
lists=find_name,parse_item,fail,hvtlfs_features_parse
paste=is_one_of,read_switch,place_of,turn,take_toggle,take_vendor,take_spin_count,take_feature,take,find
paste=$paste,contains,after,until,is_in,strip,word_size,qemu_cpu,qemu_item,read_qemu,xen_item,read_xen
paste=$paste,attribute,word,libvirt_toggle,libvirt_timer,libvirt_element,element_name,next_tag
paste=$paste,libvirt_part,read_libvirt,recognise,count_items,read_list,report,read_foreign,read_text
paste=$paste,hvtlfs_paste
state=get,digest_of,round_up,wrong,damaged,check_digest,next_section,next_field
sets=lowest_bit,copy_banks
for name in clear from_mask bank add remove has is_empty count next intersect unite parse encode; do
    sets=$sets,hvtlfs_vp_set_$name
done

. "$here/verdict.sh"

# frama FOLDER ARGUMENT...: with the sources of FOLDER
frama() {
    folder=$1
    shift
    HOME=$work frama-c -machdep "$machine" -c11 -kernel-warn-key annot-error=abort \
        -cpp-extra-args="-I$folder -I$source_dir/include -DBYTE=$byte -include $here/contracts.h" "$@"
}

# goals FOLDER SECONDS FILE FUNCTIONS: the goals, proven and in all, or nothing. What a word is
# (requires word:) is words()'s to show.
goals() {
    byte=char
    [ "$3" = state.c ] && byte=uint8_t
    frama "$1" -wp -wp-no-init-const -wp-rte -warn-invalid-pointer -wp-fct "$4" -wp-prop=-word \
        -wp-prover z3,cvc4 -wp-timeout "$2" -wp-par 2 "$1/$3" >"$work/wp.log" 2>&1
    sed -n 's/.*Proved goals: *\([0-9]*\) \/ \([0-9]*\).*/\1 \2/p' "$work/wp.log"
}

# prove FILE FUNCTIONS
prove() {
    counts=$(goals "$source_dir/src" 60 "$1" "$2")
    good=no
    [ -n "$counts" ] && [ "${counts% *}" = "${counts#* }" ] && good=yes
    verdict $good "$1 on $machine" "${counts% *} of ${counts#* } goals"
    [ $good = yes ] || grep -A2 'Failed\]\|rror' "$work/wp.log"
}

# A copy of src/ in which `from` in FILE is `to`.
changed() {
    rm -rf "$work/src"
    cp -r "$source_dir/src" "$work/src"
    FROM=$2 TO=$3 awk '{
        at = index($0, ENVIRON["FROM"])
        if (at) {
            $0 = substr($0, 1, at - 1) ENVIRON["TO"] substr($0, at + length(ENVIRON["FROM"]))
        }
        print
    }' "$source_dir/src/$1" >"$work/src/$1"
    ! cmp -s "$source_dir/src/$1" "$work/src/$1"
}

# broken FILE FUNCTION FROM TO [PROVEN FILE]: with this change the proof must not go through
broken() {
    counts=
    changed "$1" "$3" "$4" && counts=$(goals "$work/src" 5 "${5:-$1}" "$2")
    good=no
    [ -n "$counts" ] && [ "${counts% *}" -lt "${counts#* }" ] && good=yes
    verdict $good "$1 with '$4'" "${counts:+$((${counts#* } - ${counts% *}))} goals fail, as they should"
}

# How many words Eva cannot show to be one, of those that the sources of a folder compare with.
doubtful_words() {
    byte=char
    frama "$1" -main words -eva -eva-precision 0 -eva-msg-key=-initial-state,-final-states \
        "$here/words.c" "$1/features.c" "$1/paste.c" >"$work/eva.log" 2>&1
    grep -q 'ANALYSIS SUMMARY' "$work/eva.log" || { echo none; return; }
    grep -c "'word'\|is_word\|'note'\|assertion note\|status invalid" "$work/eva.log"
}

words() {
    doubts=$(doubtful_words "$source_dir/src")
    good=no
    [ "$doubts" = 0 ] && good=yes
    verdict $good "words and tables on $machine" "$doubts that may be no string"
    changed slice.h '< 100' '< 7' && doubts=$(doubtful_words "$work/src")
    good=no
    [ "$doubts" -gt 0 ] && good=yes
    verdict $good "words of seven letters refused" "$doubts doubts, as there should be"
}

broken_bank() {
    broken vpset.c hvtlfs_vp_set_bank 'bank < HVTLFS_VP_BANKS' 'bank <= HVTLFS_VP_BANKS'
}

everything() {
    prove vpset.c "$sets"
    prove state.c "$state"
    prove features.c "$slices,$lists"
    prove paste.c "$paste"
}

broken_everything() {
    broken_bank
    broken state.c next_section '(size_t)SECTION_SIZE + size' 'SECTION_SIZE + size'
    broken slice.h slice_cut 'i < rest->size && rest' 'i <= rest->size && rest' features.c
    broken slice.h slice_trim '(slice.start[slice.size - 1] ==' '(slice.start[slice.size] ==' features.c
    broken features.c hvtlfs_features_parse '!text && size' 'false'
    broken paste.c find 'length <= text.size - i;' 'length <= text.size - i + 1;'
    broken paste.c take_vendor 'value.size > 12' 'value.size > 17'
    broken paste.c take_feature 'sizeof(item) - sizeof("=off")' 'sizeof(item)'
    broken paste.c next_tag 'text.size >= 3' 'text.size >= 2'
    broken state.c next_section 'size > left - SECTION_SIZE' 'size > left'
    broken state.c next_field 'field->size > rest->size - FIELD_SIZE' 'field->size > rest->size'
    broken vpset.c hvtlfs_vp_set_parse 'count != count_bits(valid)' 'count > count_bits(valid)'
}

case $mode in
--quick)
    prove vpset.c hvtlfs_vp_set_bank,hvtlfs_vp_set_parse
    prove features.c slice_is,slice_trim,slice_cut
    broken_bank
    ;;
*)
    everything
    broken_everything
    words
    ;;
esac
if [ "$mode" = --full ]; then
    machine=gcc_x86_32
    # There it looks at the halves of a word, and that one of them is not 0 is beyond the provers.
    prove vpset.c "${sets#lowest_bit,}"
    prove state.c "$state"
    prove features.c "$slices,$lists"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
