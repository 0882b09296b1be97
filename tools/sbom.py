#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sbom.py SOURCE OUT: write a bill of materials (SPDX 2.3, JSON) of the libraries and the command.
sbom.py --check SOURCE FILE: is FILE one, and does it say what is there?

Every file that is compiled into them or installed with them, with its SHA-1 and SHA-256 and the licence that its
first line names. Nothing from elsewhere is in it; at run time the command needs the C library, the library
nothing.
"""
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

PARTS = ("src/*.[ch]", "src/*.def", "include/hvtlfs/*", "adapters/kvm/*.[ch]",
         "adapters/kvm/include/hvtlfs/*", "tools/*.[ch]", "cmake/*", "docs/man/*",
         "tools/completion/*", "CMakeLists.txt")
MANDATORY = ("spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo",
             "packages", "files", "relationships")


def files_of(root):
    return sorted({path for part in PARTS for path in root.glob(part) if path.is_file()})


def licence(path):
    match = re.search(r"SPDX-License-Identifier: ([\w.+-]+)", path.read_text().split("\n", 1)[0])
    if match is None:
        raise SystemExit(f"{path}: the first line names no licence")
    return match[1]


def described(root, path):
    content = path.read_bytes()
    name = path.relative_to(root).as_posix()
    return {"SPDXID": "SPDXRef-File-" + re.sub(r"[^A-Za-z0-9.-]", "-", name), "fileName": "./" + name,
            "fileTypes": ["SOURCE"], "licenseConcluded": licence(path),
            "licenseInfoInFiles": [licence(path)], "copyrightText": "NOASSERTION",
            "checksums": [{"algorithm": "SHA1", "checksumValue": hashlib.sha1(content).hexdigest()},
                          {"algorithm": "SHA256", "checksumValue": hashlib.sha256(content).hexdigest()}]}


def verification_code(files):
    """SPDX 7.9: SHA-1 of the sorted SHA-1s."""
    sums = sorted(file["checksums"][0]["checksumValue"] for file in files)
    return hashlib.sha1("".join(sums).encode()).hexdigest()


def document(root):
    version = re.search(r"VERSION (\d+\.\d+\.\d+)", (root / "CMakeLists.txt").read_text())[1]
    files = [described(root, path) for path in files_of(root)]
    code = verification_code(files)
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", "0"))))
    package = {"SPDXID": "SPDXRef-Package", "name": "libhvtlfs", "versionInfo": version,
               "downloadLocation": "NOASSERTION", "filesAnalyzed": True, "licenseConcluded": "MIT",
               "licenseDeclared": "MIT", "licenseInfoFromFiles": ["MIT"], "copyrightText": "NOASSERTION",
               "primaryPackagePurpose": "LIBRARY",
               "packageVerificationCode": {"packageVerificationCodeValue": code}}
    relations = [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES",
                  "relatedSpdxElement": "SPDXRef-Package"}]
    relations += [{"spdxElementId": "SPDXRef-Package", "relationshipType": "CONTAINS",
                   "relatedSpdxElement": file["SPDXID"]} for file in files]
    return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
            "name": f"libhvtlfs-{version}", "documentNamespace": f"urn:libhvtlfs:{version}:{code}",
            "creationInfo": {"created": when, "creators": ["Tool: libhvtlfs-sbom.py"]},
            "packages": [package], "files": files, "relationships": relations}


def check(root, path):
    """Against the tree, and against what SPDX 2.3 asks for."""
    said = json.loads(path.read_text())
    wrong = [f"no {name}" for name in MANDATORY if not said.get(name)]
    if wrong:
        return wrong
    names = [element["SPDXID"] for element in said["files"] + said["packages"]] + [said["SPDXID"]]
    wrong += [f"{name} is given twice" for name in sorted(names) if names.count(name) > 1]
    wrong += [f"{name} is no SPDX identifier" for name in names
              if not re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", name)]
    wrong += [f"a relationship names {end}" for relation in said["relationships"]
              for end in (relation["spdxElementId"], relation["relatedSpdxElement"]) if end not in names]
    listed = {file["fileName"]: file for file in said["files"]}
    there = {"./" + file.relative_to(root).as_posix(): file for file in files_of(root)}
    wrong += [f"{name} is listed and not there" for name in listed.keys() - there.keys()]
    wrong += [f"{name} is there and not listed" for name in there.keys() - listed.keys()]
    for name in listed.keys() & there.keys():
        content = there[name].read_bytes()
        sums = {entry["algorithm"]: entry["checksumValue"] for entry in listed[name]["checksums"]}
        if sums.get("SHA256") != hashlib.sha256(content).hexdigest():
            wrong.append(f"{name} has another SHA-256")
    package = said["packages"][0]
    if package["packageVerificationCode"]["packageVerificationCodeValue"] != verification_code(
            said["files"]):
        wrong.append("the verification code is not that of the files")
    return wrong


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--check":
        wrong = check(Path(sys.argv[2]).resolve(), Path(sys.argv[3]))
        print("\n".join(wrong) or "the bill of materials agrees with the files")
        return bool(wrong)
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    text = json.dumps(document(Path(sys.argv[1]).resolve()), indent=1, sort_keys=True)
    Path(sys.argv[2]).write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
