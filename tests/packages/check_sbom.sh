#!/bin/sh
# SPDX-License-Identifier: MIT
# The bill of materials agrees with the files, and its check notices when it does not.
set -u
cd "$(dirname "$0")/../.." || exit 1
python=${PYTHON:-python3}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
"$python" tools/sbom.py . "$work/good.json" && "$python" tools/sbom.py --check . "$work/good.json" || exit 1
for change in 's/SHA256/SHA512/' 's/File-src-check.c/File-src-clock.c/' 's#src/check.c#src/chuck.c#' \
    's/"spdxVersion"/"version"/' 's/"packageVerificationCodeValue": "./&0/'; do
    sed "$change" "$work/good.json" >"$work/bad.json"
    if "$python" tools/sbom.py --check . "$work/bad.json" >/dev/null; then
        echo "FAIL: the check does not notice $change"
        exit 1
    fi
done
