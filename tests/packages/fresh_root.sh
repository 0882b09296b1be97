#!/bin/bash
# SPDX-License-Identifier: MIT
# fresh_root.sh FOLDER
#
# Install the packages of FOLDER into a Debian that has nothing else, as a user would: first by the commands
# of docs/TUTORIAL.md, in order, whose output must be what the page shows; then debian/tests/installed. Removing the
# packages leaves nothing behind. Needs root and mmdebstrap; build/fresh-root.tar is kept for the next time.
set -u
folder=$(cd "${1:?usage: fresh_root.sh FOLDER}" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
base=build/fresh-root.tar
work=$(mktemp -d) || exit 1
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

say() {
    printf '%4d s  %s\n' "$SECONDS" "$*"
}

# inside COMMAND: as root in a home of its own; locale and language are nobody's
inside() {
    chroot "$root" env -i HOME=/home/user PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive sh -c "cd /home/user && $1"
}

if [[ ! -e $base ]]; then
    sources=()
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [[ -s $file ]] && sources+=("$file")
    done
    # shellcheck source=/dev/null
    mmdebstrap --mode=root --variant=apt --include=ca-certificates \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$base.part" --format=tar "${sources[@]}" ||
        { rm -f "$base.part"; echo "mmdebstrap could not make a root"; exit 1; }
    mv "$base.part" "$base"
fi
mkdir "$root" && tar -xf "$base" -C "$root" || exit 1
mkdir -p "$root/home/user"
cp "$folder"/*.deb "$root/home/user" && rm -f "$root"/home/user/*-dbgsym_*
cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null
cp /etc/hosts "$root/etc/hosts" 2>/dev/null
inside "apt-get -qq update" || { echo "no package lists in the fresh root"; exit 1; }
inside "dpkg-query -W -f '\${Package}\\n'" | sort >"$work/before"
say "a Debian with $(wc -l <"$work/before") packages"

# The tutorial: "# " and "$ " lines of its console blocks, with what they print.
python3 - docs/TUTORIAL.md "$work" <<'PYTHON' || exit 1
import re
import sys
from pathlib import Path

steps = []
for block in re.findall(r"^```console\n(.*?)^```", Path(sys.argv[1]).read_text(), flags=re.M | re.S):
    for line in block.splitlines():
        if line[:2] in ("# ", "$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
for number, (command, expected) in enumerate(steps):
    Path(sys.argv[2], f"step-{number:02}").write_text(command + "\n")
    Path(sys.argv[2], f"expected-{number:02}").write_text("".join(line + "\n" for line in expected))
PYTHON
for step in "$work"/step-*; do
    expected=$work/expected-${step##*-}
    say "$(cat "$step")"
    if ! inside "$(cat "$step")" >"$work/out" 2>"$work/err" </dev/null; then
        echo "FAIL: the tutorial's command fails"
        tail -n 20 "$work/out" "$work/err"
        exit 1
    fi
    if [[ -s $expected ]] && ! diff "$expected" "$work/out"; then
        echo "FAIL: the tutorial shows something else"
        exit 1
    fi
done
say "the tutorial's VMM runs"

inside "apt-get install -y --no-install-recommends cmake make python3" >"$work/out" 2>&1 || { tail "$work/out"; exit 1; }
cp debian/tests/installed "$root/home/user/installed"
inside "./installed" || { echo "FAIL: debian/tests/installed"; exit 1; }
inside "apt-get purge -y libhvtlfs0 libhvtlfs-dev hvtlfs-tools libhvtlfs-doc" >"$work/out" 2>&1 || exit 1
if find "$root/usr" "$root/etc" "$root/var/lib" -name '*hvtlfs*' | grep .; then
    echo "FAIL: the packages leave these behind"
    exit 1
fi
say "installed, tested, removed"
echo "dev-note: the tutorial in a fresh root"
