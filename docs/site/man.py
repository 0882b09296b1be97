#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""man.py SOURCE OUT

Make man pages: OUT/man3, one for each public function, from the comments of the public headers; and
OUT/man1/hvtlfs-VERB.1 for each verb, from docs/man/hvtlfs.1. mandoc -T lint has nothing to say
about them (tests/check_man.sh).
"""
import re
import sys
from pathlib import Path

RETURN_WORDS = ("@return", "@retval")


# ---- Reading headers ----

def declarations(text):
    """(comment, prototype) of every documented function."""
    pattern = r"/\*\*((?:(?!\*/).)*)\*/\s*((?:HVTLFS_API|static inline)\b[^;{]*?\([^;{]*\))\s*[;{]"
    found = re.findall(pattern, text, flags=re.S)
    undocumented = set(re.findall(r"^HVTLFS_API\b", text, flags=re.M))
    count = len(re.findall(r"^HVTLFS_API\b", text, flags=re.M))
    documented = sum(prototype.startswith("HVTLFS_API") for _, prototype in found)
    if undocumented and count != documented:
        raise SystemExit(f"{count - documented} public functions without a comment")
    return found


def stripped(comment):
    lines = [re.sub(r"^\s*\* ?", "", line) for line in comment.strip().splitlines()]
    return "\n".join(lines).strip()


def prototype_parts(prototype):
    """(type, name, [argument])."""
    text = " ".join(prototype.split())
    text = re.sub(r"\b(HVTLFS_API|HVTLFS_MUST_USE|static inline) ?", "", text)
    head, _, arguments = text.partition("(")
    kind, name = re.match(r"(.*?)(\w+)$", head.strip()).groups()
    depth, parts, start = 0, [], 0
    arguments = arguments.rstrip(")") if arguments.count("(") == 0 else arguments[:-1]
    for at, char in enumerate(arguments + ","):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(arguments[start:at].strip())
            start = at + 1
    return kind.strip(), name, parts


def sections(comment):
    """(summary, paragraphs, {argument: text}, returns) of a comment."""
    paragraphs, arguments, returns, current = [], {}, "", None
    for block in re.split(r"\n\s*\n", comment):
        rest = []
        for line in block.splitlines():
            argument = re.match(r"@param (\w+)\s+(.*)", line)
            answer = re.match(r"@return\s+(.*)", line)
            if argument:
                current = argument.group(1)
                arguments[current] = argument.group(2)
            elif answer:
                current, returns = RETURN_WORDS, answer.group(1)
            elif current == RETURN_WORDS:
                returns += "\n" + line.strip()
            elif current is not None:
                arguments[current] += "\n" + line.strip()
            else:
                rest.append(line)
        current = None
        if rest:
            paragraphs.append("\n".join(rest))
    return paragraphs, arguments, returns


def summary_of(paragraphs, returns):
    """The first sentence, and the paragraphs without it where it is a paragraph's beginning."""
    text = " ".join((paragraphs[0] if paragraphs else returns).split())
    first = re.split(r"(?<=[.:?;])\s", text, maxsplit=1)[0]
    return plain(first).rstrip(".:;")


# ---- Writing mdoc ----

def plain(text):
    text = re.sub(r"(?<![\w@])@(?:p|ref|c) ", "", text)
    text = re.sub(r"#(?=HV)", "", text)
    text = re.sub(r"[`*]{1,2}([^`*]+)[`*]{1,2}", r"\1", text)
    return text.replace("\\", "\\e")


def roff(text):
    """Running text: a sentence a line, words of code in bold, arguments in italics."""
    text = " ".join(text.split()).replace("\\", "\\e")
    text = re.sub(r"(?<![\w@])@p (\w+)", r"\\fI\1\\fP", text)
    text = re.sub(r"(?<![\w@])@(?:ref|c) ", "", text)
    text = re.sub(r"#(HV\w+)", r"\\fB\1\\fP", text)
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fP", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"\\fB\1\\fP", text)
    text = re.sub(r"(?<!\bTLFS)(?<!\bp)(?<!\bb)([.?!:]) (?=[A-Z\\(])", r"\1\n", text)
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line
                     for line in text.splitlines())


def body(paragraph):
    """A paragraph or a list."""
    items = re.split(r"^\s*(?:-|\d+\.) ", paragraph, flags=re.M)
    if len(items) < 2:
        return roff(paragraph)
    lines = [roff(items[0])] if items[0].strip() else []
    lines.append(".Bl -bullet")
    for item in items[1:]:
        lines += [".It", roff(item)]
    return "\n".join(lines + [".El"])


def function_page(header, date, comment, prototype, others):
    kind, name, arguments = prototype_parts(prototype)
    paragraphs, described, returns = sections(stripped(comment))
    summary = summary_of(paragraphs, returns)
    lines = ['.\\" SPDX-License-Identifier: MIT', f'.\\" Made from <hvtlfs/{header}> by docs/site/man.py.',
             f".Dd {date}", f".Dt {name.upper()} 3", ".Os", ".Sh NAME", f".Nm {name}",
             f".Nd {summary[:1].lower() + summary[1:]}", ".Sh SYNOPSIS", f".In hvtlfs/{header}",
             f'.Ft "{kind}"', f".Fo {name}"]
    lines += [f'.Fa "{argument}"' for argument in arguments]
    lines += [".Fc", ".Sh DESCRIPTION"]
    lines.append("\n.Pp\n".join(body(paragraph) for paragraph in paragraphs) if paragraphs
                 else "Gives " + roff(returns))
    if described:
        lines += [".Pp", "The arguments:", ".Bl -tag -width Ds"]
        for argument, text in described.items():
            lines += [f".It Fa {argument}", roff(text)]
        lines.append(".El")
    if returns and paragraphs:
        lines += [".Sh RETURN VALUES", roff(returns[:1].upper() + returns[1:])]
    lines.append(".Sh SEE ALSO")
    near = [other for other in others if other != name][:6]
    lines += [f".Xr {other} 3 ," for other in sorted(near)]
    lines.append(".Xr libhvtlfs 7")
    return name, "\n".join(lines) + "\n"


def functions(root, out, date):
    folder = out / "man3"
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    headers = sorted((root / "include/hvtlfs").glob("*.h")) + [root / "include/hvtlfs/version.h.in"]
    for path in headers + sorted(root.glob("adapters/*/include/hvtlfs/*.h")):
        found = declarations(path.read_text())
        names = [prototype_parts(prototype)[1] for _, prototype in found]
        header = path.name.replace(".in", "")
        for at, (comment, prototype) in enumerate(found):
            near = names[max(0, at - 3):at + 4]
            name, text = function_page(header, date, comment, prototype, near)
            (folder / f"{name}.3").write_text(text)
            count += 1
    return count


def verbs(root, out):
    """hvtlfs.1 cut into one page for each verb."""
    source = (root / "docs/man/hvtlfs.1").read_text()
    date = re.search(r"^\.Dd (.*)$", source, flags=re.M)[1]
    synopsis = source[source.index(".Sh SYNOPSIS"):source.index(".Sh DESCRIPTION")]
    folder = out / "man1"
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for match in re.finditer(r"^\.Ss hvtlfs (\w+)\n(.*?)(?=^\.S[sh] )", source, flags=re.M | re.S):
        verb, text = match.groups()
        usage = re.search(rf"^\.Nm\n(\.Cm {verb}\n(?:\.(?!Nm|Cm).*\n)*)", synopsis, flags=re.M)
        first = re.split(r"(?<=[.:,])\s", re.sub(r"^\..*\n", "", text, flags=re.M).strip())[0]
        name = f"hvtlfs-{verb}"
        summary = " ".join(first.split()).rstrip(".,:")
        see = ".Xr hvtlfs 1" + (" ,\n.Xr hvtlfs-replay 5" if verb == "replay" else "")
        (folder / f"{name}.1").write_text(
            f'.\\" SPDX-License-Identifier: MIT\n.\\" Made from hvtlfs.1 by docs/site/man.py.\n'
            f".Dd {date}\n.Dt {name.upper()} 1\n.Os\n.Sh NAME\n.Nm {name}\n"
            f".Nd {summary[:1].lower() + summary[1:]}\n.Sh SYNOPSIS\n.Nm hvtlfs\n{usage[1]}"
            f".Sh DESCRIPTION\n{text}.Sh EXIT STATUS\n0 if all is well, 1 if a check failed, 2 for bad "
            f"usage; see\n.Xr hvtlfs 1 .\n.Sh SEE ALSO\n{see}\n")
        count += 1
    return count


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    root, out = Path(sys.argv[1]), Path(sys.argv[2])
    date = re.search(r"^\.Dd (.*)$", (root / "docs/man/hvtlfs.1").read_text(), flags=re.M)[1]
    print(f"{functions(root, out, date)} functions, {verbs(root, out)} verbs")


if __name__ == "__main__":
    main()
