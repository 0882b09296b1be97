# SPDX-License-Identifier: MIT
"""What the sources say, as Python values: the rows of src/*.def, the constants of tlfs.h, the
features and profiles of `hvtlfs features --json`."""
import csv
import json
import re
import subprocess
from pathlib import Path


def split_arguments(text):
    """The arguments of a macro: text between the outer parentheses, split at top-level commas."""
    parts, depth, start, quoted = [], 0, 0, False
    for at, char in enumerate(text):
        if char == '"' and text[at - 1] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    parts.append(text[start:].strip())
    return parts


def unquoted(text):
    """The value of a C string literal, or of several in a row."""
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', text)).replace('\\"', '"')


def rows(path, *macros):
    """(macro, arguments) of every row of a table, in order."""
    text = re.sub(r"/\*.*?\*/", "", Path(path).read_text(), flags=re.S)
    text = re.sub(r"^#.*(?:\\\n.*)*$", "", text, flags=re.M)
    found = []
    for match in re.finditer(r"^([A-Z][A-Z_0-9]*)\(", text, flags=re.M):
        if match.group(1) not in macros:
            continue
        depth, at, quoted = 1, match.end(), False
        while depth:
            char = text[at]
            if char == '"' and text[at - 1] != "\\":
                quoted = not quoted
            elif not quoted:
                depth += (char == "(") - (char == ")")
            at += 1
        found.append((match.group(1), split_arguments(text[match.end():at - 1])))
    return found


def number(text):
    """The value of a C integer constant, or None."""
    match = re.fullmatch(r"(?:UINT\d+_C\()?(0[xX][0-9a-fA-F]+|\d+)[uUlL]*\)?", text.strip())
    return int(match.group(1), 0) if match else None


class Tlfs:
    """<hvtlfs/tlfs.h>: constants by name, enums as lists of names, structs as lists of fields."""

    def __init__(self, path):
        text = Path(path).read_text()
        self.source = {}
        self.constants = {}
        self.enums = {}
        self.structs = {}
        self._read_enums(text)
        self._read_macros(text)
        self._read_structs(text)

    def _read_enums(self, text):
        pattern = r"(?:/\*((?:(?!\*/).)*)\*/\n)?enum (\w+) \{\n(.*?)\n\};"
        for match in re.finditer(pattern, text, flags=re.S):
            comment, name, body = match.groups()
            names = []
            body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
            for item in body.split(","):
                if "=" in item:
                    constant, value = (part.strip() for part in item.split("=", 1))
                    self.constants[constant] = self._value(value)
                    names.append(constant)
            self.enums[name] = names
            self.source[name] = " ".join((comment or "").replace("*", " ").split())

    def _read_macros(self, text):
        for match in re.finditer(r"^#define (HV_\w+) +(.*?)(?: /\*.*)?$", text, flags=re.M):
            self.constants[match.group(1)] = self._value(match.group(2))

    def _read_structs(self, text):
        for match in re.finditer(r"(?:/\*((?:(?!\*/).)*)\*/\n)?struct (hv_\w+) \{\n(.*?)\n\};", text,
                                 flags=re.S):
            name = match.group(2)
            self.source[name] = " ".join((match.group(1) or "").replace("*", " ").split())
            size = re.search(rf"HVTLFS_SIZE\({name}, (\w+)\)", text)
            offsets = re.findall(rf"HVTLFS_FIELD\({name}, (\w+), (\w+)\)", text)
            kinds = dict((field, kind) for kind, field in re.findall(
                r"^\s*((?:struct )?\w+) (\w+)(?:\[[^\]]*\])?;", match.group(3), flags=re.M))
            if size:
                self.structs[name] = (int(size.group(1), 0), [
                    (field, int(offset, 0), kinds.get(field, "")) for field, offset in offsets])

    def _value(self, text):
        value = number(text)
        return self.constants.get(text.strip()) if value is None else value

    def fields(self, enum):
        """(high bit, low bit, word) of each field of a register, from the top down."""
        prefix = enum.upper() + "_"
        found = {}
        for name, value in self.constants.items():
            if not name.startswith(prefix) or value is None or name.endswith("_SHIFT"):
                continue
            word = name[len(prefix):]
            if re.match(r"V\d_", word):
                continue
            if word.endswith("_MASK"):
                word = word[:-5]
                if word.startswith("RSVD"):
                    continue
            if value:
                found[word] = (value.bit_length() - 1, (value & -value).bit_length() - 1)
        return sorted(((high, low, word) for word, (high, low) in found.items()), reverse=True)

    def reserved(self, enum):
        """Masks of reserved bits by kind: RSVD_Z, RSVD_P, RSVD."""
        prefix = enum.upper() + "_"
        return {kind: self.constants[f"{prefix}{kind}_MASK"] for kind in ("RSVD_Z", "RSVD_P", "RSVD")
                if self.constants.get(f"{prefix}{kind}_MASK")}


def identifiers(text, macro):
    return re.findall(rf"{macro}\((\w+)\)", text)


class Model:
    """Everything the pages ask for."""

    def __init__(self, root, tool):
        root = Path(root)
        self.root = root
        self.tlfs = Tlfs(root / "include/hvtlfs/tlfs.h")
        self.features = self._features()
        self.described = json.loads(subprocess.run([tool, "features", "--json"], check=True,
                                                   capture_output=True, text=True).stdout)
        self.by_name = {feature["name"]: feature for feature in self.described["features"]}
        self.msrs = self._msrs()
        self.calls = self._calls()
        self.statuses = self._statuses()
        self.bits = self._bits()

    def _features(self):
        found = {}
        for _, cell in rows(self.root / "src/features.def", "FEATURE"):
            found[cell[0]] = {
                "id": cell[0], "name": unquoted(cell[1]), "needs": identifiers(cell[2], "WITH"),
                "host": identifiers(cell[3], "HOST"), "summary": unquoted(cell[5]),
                "clause": unquoted(cell[6]),
                "bits": [(int("0x4000000" + leaf, 16), register, int(bit)) for leaf, register, bit
                         in re.findall(r"L([0-9A-F])_(E[A-D]X)\((\d+)\)", cell[4])]}
        return found

    def _msrs(self):
        wire = {row["name"]: row for row in self._csv("msr.csv")}
        found = []
        for macro, cell in rows(self.root / "src/msrs.def", "MSR", "MSR_ABSENT"):
            name = "HV_X64_MSR_" + cell[0]
            row = wire.get(name, {})
            present = macro == "MSR"
            found.append({
                "name": name, "number": self.tlfs.constants[name], "scope": row.get("scope", ""),
                "feature": cell[1] if present else None, "clause": unquoted(cell[-1]),
                "access": (("R" if cell[2] != "NO_READ" else "") +
                           ("W" if cell[3] != "NO_WRITE" else "")) if present else "#GP"})
        return found

    def _calls(self):
        found = []
        kinds = ("SIMPLE", "SIMPLE_VAR", "REP", "REP_VAR", "DENIED", "UNOFFERED", "UNKNOWN")
        for macro, cell in rows(self.root / "src/hypercalls.def", *kinds):
            gates = identifiers(cell[1], "GATE") if macro not in ("DENIED", "UNKNOWN") else []
            found.append({
                "name": cell[0], "code": self.tlfs.constants[cell[0]], "kind": macro, "gates": gates,
                "clause": unquoted(cell[-1]),
                "rep": macro.startswith("REP"), "variable": macro.endswith("_VAR"),
                "input": cell[2] if macro.startswith(("SIMPLE", "REP")) else "",
                "element": cell[{"REP": 3, "REP_VAR": 4}[macro]] if macro.startswith("REP") else ""})
        return found

    def _statuses(self):
        """Each with the files of src/ that return it, and where the TLFS has it."""
        code = {path.name: re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
                for path in sorted((self.root / "src").glob("*.[ch]")) if path.name != "status.c"}
        code["hypercall.c"] += (self.root / "src/hypercalls.def").read_text()
        clause = {row["name"]: row["source"] for row in self._csv("status.csv")}
        return [{"name": cell[0], "number": self.tlfs.constants[cell[0]], "meaning": unquoted(cell[1]),
                 "clause": clause.get(cell[0], ""),
                 "returned": [name for name, text in code.items() if re.search(rf"\b{cell[0]}\b", text)]}
                for _, cell in rows(self.root / "src/statuses.def", "STATUS")]

    def _bits(self):
        shown = {}
        for feature in self.features.values():
            for place in feature["bits"]:
                shown.setdefault(place, []).append(feature["id"])
        clause = {(row["leaf"].lower(), row["register"], row["bits"]): row["source"]
                  for row in self._csv("cpuid.csv")}
        found = []
        for _, cell in rows(self.root / "src/cpuid_bits.def", "CPUID_BITS"):
            leaf, high, low = int(cell[0], 0), int(cell[2]), int(cell[3])
            found.append({"leaf": leaf, "register": cell[1], "high": high, "low": low, "name": cell[4],
                          "meaning": unquoted(cell[5]),
                          "clause": clause.get((cell[0].lower(), cell[1], str(high) if high == low
                                                else f"{high}:{low}"), ""),
                          "features": shown.get((leaf, cell[1], low), []) if high == low else []})
        return found

    def _csv(self, name):
        with open(self.root / "tests/tlfs" / name, newline="") as file:
            return list(csv.DictReader(file))

    def who(self, feature):
        """Which kinds of guests a profile gives a feature to, and why (the first reason)."""
        name = self.features[feature]["name"]
        guests, reason = [], ""
        for profile in self.described["profiles"]:
            for row in profile["rows"]:
                if row["kind"] == "gives" and row["name"] == name:
                    guests.append(profile["name"])
                    reason = reason or row["reason"]
        return shortened(guests), reason


WINDOWS = ["windows-7", "windows-10", "windows-11", "windows-server-2008r2", "windows-server-2012",
           "windows-server-2016", "windows-server-2022"]


def shortened(guests):
    """A list of profiles in few words."""
    if "minimal" in guests:
        return ["every guest"]
    rest = [guest for guest in guests if guest not in WINDOWS]
    windows = [guest for guest in guests if guest in WINDOWS]
    words = ["all Windows"] if len(windows) == len(WINDOWS) else [
        "Windows " + ", ".join(guest.replace("windows-", "").replace("server-", "Server ")
                               for guest in windows)] if windows else []
    return words + [{"linux": "Linux", "freebsd": "FreeBSD", "nested": "nested hypervisors"}.get(guest, guest) for guest in rest]
