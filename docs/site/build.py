#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""build.py SOURCE TOOL OUT

Make the documentation site: expand the pages of docs/ (figures and tables from the sources), run
Doxygen over them and the headers. OUT/html/index.html is the site; a warning of Doxygen fails.

A page asks for generated content in a comment, which other Markdown viewers do not show:

    <!-- figure: bits ENUM [PREFIX] -->      the fields of a register or word of tlfs.h
    <!-- figure: struct STRUCT -->           the bytes of a struct of tlfs.h
    <!-- figure: sequence NAME -->           docs/site/sequences/NAME.hvt, run and drawn
    <!-- figure: graph NAME -->              docs/site/NAME.dot
    <!-- figure: reftime-error HZ -->        the error of the reference TSC page
    <!-- table: msrs [FEATURE...] -->        and calls, leaves [LEAF...], statuses [all], features
    <!-- table: fields ENUM [PREFIX] -->     the fields as a table
"""
import html
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import figures  # noqa: E402
import tables  # noqa: E402

# The chapters of the site: title, then pages in order. A page of docs/ that is in none goes to the
# last chapter.
CHAPTERS = [
    ("guides", "Guides", ["TUTORIAL", "PROFILES", "EXAMPLES", "FAQ", "KVM", "QEMU", "VMBUS"]),
    ("mechanisms", "Mechanisms", [
        "DISCOVERY", "HYPERCALL_PAGE", "HYPERCALLS", "REFTIME", "SPINWAIT", "VAPIC", "SYNIC", "TIMERS",
        "FLUSHES", "GUEST_MSRS", "STATE", "MIGRATION", "RECOMMENDATIONS"]),
    ("tables", "Tables", ["TABLE_MSRS", "TABLE_CALLS", "TABLE_LEAVES", "TABLE_STATUSES",
                          "TABLE_FEATURES"]),
    ("project", "Project", ["DESIGN", "CONFORMANCE", "SECURITY", "PERFORMANCE", "PEERS",
                            "CONTRIBUTING", "CHANGELOG"])]
OUTSIDE = {"CONTRIBUTING": "CONTRIBUTING.md", "CHANGELOG": "CHANGELOG.md"}


def page_id(name):
    return "page_" + name.lower().replace("-", "_")


def tag(name, text, css=""):
    return f"<{name}{css and f' class={chr(34)}{css}{chr(34)}'}>{text}</{name}>"


def code(text):
    """Code in a table; a long name may be broken before a word."""
    text = html.escape(text)
    if len(text) > 22:
        text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=_)(?=[A-Z])", "<wbr>", text)
    return tag("code", text) if text else ""


def html_table(heads, lines, css=""):
    head = "".join(tag("th", text) for text in heads)
    body = "".join(tag("tr", "".join(tag("td", text) for text in line)) for line in lines)
    return (f'<div class="hv-table"><table class="markdownTable {css}"><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


class Site:
    def __init__(self, root, tool, out):
        self.root, self.out = Path(root).resolve(), Path(out).resolve()
        self.tool = str(Path(tool).resolve())
        self.pages = self.out / "pages"
        self.model = tables.Model(self.root, self.tool)
        self.names = {path.stem: path for path in sorted((self.root / "docs").glob("*.md"))}
        self.names.update({name: self.root / file for name, file in OUTSIDE.items()
                           if (self.root / file).exists()})

    # ---- Directives ----

    def expand(self, text):
        def replaced(match):
            kind, name, *rest = [match.group(1), *match.group(2).split()]
            made = getattr(self, f"{kind}_{name.replace('-', '_')}", None)
            if made is None:
                raise SystemExit(f"nobody makes <!-- {kind}: {name} -->")
            return f"\n@htmlonly[block]\n{made(*rest)}\n@endhtmlonly\n"
        return re.sub(r"<!-- (figure|table): (.*?) -->", replaced, text)

    def fields_of(self, enum, prefix):
        if enum not in self.model.tlfs.enums:
            raise SystemExit(f"tlfs.h has no enum {enum}")
        fields = self.model.tlfs.fields(enum)
        alternative = [field for field in fields if field[2].startswith(prefix or "OPEN_")]
        return alternative if prefix else [field for field in fields if field not in alternative]

    def figure_bits(self, enum, prefix=""):
        fields = [(high, low, (word if high == low else word[len(prefix):]).replace("_", " ").lower())
                  for high, low, word in self.fields_of(enum, prefix)]
        widest = max(high for high, _, _ in fields)
        size = 32 if enum.startswith("hv_cpuid") and widest < 32 else 64
        return figures.bits(enum, fields, None, size)

    def figure_struct(self, name):
        if name not in self.model.tlfs.structs:
            raise SystemExit(f"tlfs.h has no struct {name}")
        return figures.bytes_of(name, *self.model.tlfs.structs[name])

    def figure_sequence(self, name):
        return figures.sequence(self.tool, self.root / f"docs/site/sequences/{name}.hvt")

    def figure_graph(self, name):
        return figures.graph(self.root / f"docs/site/{name}.dot")

    def figure_reftime_error(self, hz):
        return figures.error_plot(self.tool, int(hz))

    def table_fields(self, enum, prefix=""):
        lines = []
        for high, low, word in self.fields_of(enum, prefix):
            constant = f"{enum.upper()}_{word}" + ("" if high == low else "_SHIFT, _MASK")
            lines.append([str(high) if high == low else f"{high}:{low}", word.lower(), code(constant)])
        for kind, mask in self.model.tlfs.reserved(enum).items():
            lines.append(["other", {"RSVD_Z": "must be zero", "RSVD_P": "preserved",
                                    "RSVD": "reserved"}[kind], code(f"{mask:#x}")])
        return html_table(["bits", "field", "in &lt;hvtlfs/tlfs.h&gt;"], lines)

    def gate(self, feature):
        return f'<a href="{page_id("TABLE_FEATURES")}.html">{self.model.features[feature]["name"]}</a>'

    def asked(self, features):
        guests = []
        for feature in features:
            guests += [guest for guest in self.model.who(feature)[0] if guest not in guests]
        return "; ".join(guests) or "no guest we know"

    def table_msrs(self, *features):
        lines = []
        for msr in self.model.msrs:
            if features and msr["feature"] not in features:
                continue
            there = msr["feature"] is not None
            lines.append([code(f"{msr['number']:#x}"), code(msr["name"].replace("HV_X64_MSR_", "")),
                          "yes" if there else "no: #GP", msr["access"] if there else "",
                          msr["scope"], self.gate(msr["feature"]) if there else "",
                          msr["clause"], self.asked([msr["feature"]]) if there else ""])
        return html_table(["number", "HV_X64_MSR_", "implemented", "access", "scope", "gated by",
                           "clause", "who asks for it"], lines)

    def table_calls(self, *features):
        answers = {"DENIED": "no: denied", "UNOFFERED": "no: unknown", "UNKNOWN": "no: unknown"}
        lines = []
        for call in self.model.calls:
            if features and not set(features) & set(call["gates"]):
                continue
            form = "" if call["kind"] in answers else (
                call["input"] + (f" + {call['element']} each" if call["rep"] else "") +
                (", a set" if call["variable"] else ""))
            lines.append([code(f"{call['code']:#06x}"), code(call["name"]),
                          answers.get(call["kind"], "yes"), form,
                          ", ".join(self.gate(gate) for gate in call["gates"]), call["clause"],
                          self.asked(call["gates"][:1]) if call["gates"] else ""])
        return html_table(["code", "call", "implemented", "input bytes", "gated by", "clause",
                           "who asks for it"], lines)

    def table_leaves(self, *leaves):
        lines = []
        for bit in self.model.bits:
            if leaves and f"{bit['leaf']:#010x}" not in leaves or bit["name"] == "Reserved":
                continue
            place = str(bit["high"]) if bit["high"] == bit["low"] else f"{bit['high']}:{bit['low']}"
            there = bool(bit["features"])
            value = bit["high"] != bit["low"]
            lines.append([code(f"{bit['leaf']:#010x}"), bit["register"], place, code(bit["name"]),
                          "yes" if there else "a value" if value else "always clear" if bit["leaf"] > 2
                          else "yes", ", ".join(map(self.gate, bit["features"])),
                          html.escape(bit["meaning"]), html.escape(bit["clause"]),
                          self.asked(bit["features"]) if there else ""])
        return html_table(["leaf", "register", "bits", "name", "implemented", "gated by", "meaning",
                           "clause", "who asks for it"], lines)

    def table_statuses(self, what=""):
        lines = [[code(f"{status['number']:#06x}"), code(status["name"]),
                  "yes: " + ", ".join(status["returned"]) if status["returned"] else "",
                  html.escape(status["meaning"]), html.escape(status["clause"])]
                 for status in self.model.statuses if what == "all" or status["returned"]]
        return html_table(["number", "status", "the library returns it", "meaning", "clause"], lines)

    def table_features(self):
        lines = []
        for feature in self.model.features.values():
            guests, why = self.model.who(feature["id"])
            described = self.model.by_name[feature["name"]]
            bits = "<br>".join(code(f"{leaf:#x} {register}:{bit}")
                               for leaf, register, bit in feature["bits"])
            needs = described["needs"] + [f"(off if {text})" for text in described.get("off_if", [])]
            lines.append([code(feature["name"]), html.escape(feature["summary"]), bits,
                          html.escape(", ".join(needs)), feature["clause"],
                          "; ".join(guests) + (f": {html.escape(why)}" if guests else "no guest we know")])
        return html_table(["feature", "what the guest gets", "leaf bits", "needs", "clause",
                           "who asks for it"], lines)

    # ---- Pages ----

    def links(self, text, path):
        """Links between Markdown files, which lead somewhere there too, become links between pages."""
        def replaced(match):
            label, target = match.groups()
            if re.match(r"(https?:|@ref)", target):
                return match.group(0)
            file, _, anchor = target.partition("#")
            stem = Path(file).stem if file else path.stem
            place = f"{stem.lower()}_{re.sub('[^a-z0-9]+', '_', anchor.lower())}" if anchor else ""
            if not file:
                return f"[{label}](@ref {place})"
            if not (path.parent / file).exists():
                raise SystemExit(f"{path.name}: the link to {target} leads nowhere")
            if stem in self.names and file.endswith(".md"):
                if label == file and not anchor:
                    label = self.title(stem)
                return f"[{label}](@ref {place or page_id(stem)})"
            return f"{label} (<tt>{Path(file).name}</tt>)" if Path(file).name not in label else label
        return re.sub(r"(?<!!)\[([^\]\n]*)\]\(([^)\s]+)\)", replaced, text)

    def title(self, name):
        return re.search(r"^# (.*)$", self.names[name].read_text(), flags=re.M)[1]

    def prose(self, text):
        """What Doxygen would misread outside code: brackets of headers, at signs, references."""
        parts = re.split(r"(```.*?```|`[^`\n]*`|@htmlonly.*?@endhtmlonly)", text, flags=re.S)
        for at in range(0, len(parts), 2):
            parts[at] = re.sub(r"<(hvtlfs/[\w.]+)>", r"&lt;\1&gt;", parts[at])
            parts[at] = re.sub(r"(?<!\\)#(GP|UD|MC)\b", r"\\#\1", parts[at])
        for at in range(1, len(parts), 2):
            parts[at] = re.sub(r"^```(console|asm)$", "```{.unparsed}", parts[at], flags=re.M)
            parts[at] = re.sub(r"\A```\n", "```{.unparsed}\n", parts[at])
            parts[at] = re.sub(r"\A```c\n", "```{.c}\n", parts[at])
        return "".join(parts)

    def page(self, name, text):
        text = re.sub(r"\A<!-- SPDX.*?-->\n", "", text)
        text = self.prose(self.expand(self.links(text, self.names[name])))
        text = re.sub(r"\A# (.*)$", rf"# \1 {{#{page_id(name)}}}", text, count=1, flags=re.M)
        # An anchor on each heading, as GitHub makes them, for links and the table of contents.
        used = set()
        def anchored(match):
            word = re.sub(r"[^a-z0-9]+", "_", match.group(2).lower().replace("'", "")).strip("_")
            anchor = f"{name.lower()}_{word}"
            while anchor in used:
                anchor += "_"
            used.add(anchor)
            return f"{match.group(1)} {match.group(2)} {{#{anchor}}}"
        text = re.sub(r"^(##+) ([^\n{]*)$", anchored, text, flags=re.M)
        if len(re.findall(r"^## ", text, flags=re.M)) > 2:
            text = text.replace("\n", "\n\n[TOC]\n", 1)
        (self.pages / f"{name}.md").write_text(text + "\n")

    def chapters(self):
        """The tree of pages, and a page for each chapter."""
        placed = {name for _, _, names in CHAPTERS for name in names}
        tree = []
        for identity, title, names in CHAPTERS:
            names = [name for name in names if name in self.names]
            if identity == "project":
                names += [name for name in self.names if name not in placed and name not in ("index",)]
            lines = [f"# {title} {{#chapter_{identity}}}", ""]
            for name in names:
                lines.append(f"- @subpage {page_id(name)} <br> {self.first_sentence(name)}")
            (self.pages / f"chapter-{identity}.md").write_text("\n".join(lines) + "\n")
            tree.append((identity, title))
        return tree

    def first_sentence(self, name):
        text = self.names[name].read_text()
        text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
        for paragraph in re.split(r"\n\n+", text):
            if paragraph.strip() and not re.match(r"\s*(#|\||`|-|    |Headers?:)", paragraph):
                sentence = re.split(r"(?<=[.?])\s", " ".join(paragraph.split()))[0]
                return self.prose(self.links(sentence, self.names[name]))
        return ""

    def build(self):
        shutil.rmtree(self.out, ignore_errors=True)
        self.pages.mkdir(parents=True)
        for path in sorted((self.root / "docs/site/tables").glob("*.md")):
            self.names[path.stem] = path
        for name, path in self.names.items():
            self.page(name, path.read_text())
        self.chapters()
        path = self.root / "docs/site/start.md"
        start = re.sub(r"\A<!--.*?-->\n", "", path.read_text())
        (self.pages / "start.md").write_text(self.prose(self.expand(self.links(start, path))))
        self.doxygen()

    def doxygen(self):
        version = re.search(r"VERSION (\d+\.\d+\.\d+)", (self.root / "CMakeLists.txt").read_text())[1]
        text = (self.root / "docs/site/Doxyfile.in").read_text()
        for key, value in (("SOURCE", self.root), ("OUT", self.out), ("VERSION", version)):
            text = text.replace(f"@{key}@", str(value))
        (self.out / "Doxyfile").write_text(text)
        run = subprocess.run(["doxygen", str(self.out / "Doxyfile")], capture_output=True, text=True)
        warnings = [line for line in run.stderr.splitlines() if line.strip()]
        print("\n".join(line.replace(f"{self.root}/", "") for line in warnings))
        if run.returncode or warnings:
            raise SystemExit(f"doxygen: {len(warnings)} warnings")


def main():
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    site = Site(*sys.argv[1:])
    site.build()
    print(f"{len(list((site.out / 'html').glob('*.html')))} pages in {site.out}/html")


if __name__ == "__main__":
    main()
