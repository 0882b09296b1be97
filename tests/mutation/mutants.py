# SPDX-License-Identifier: MIT
"""The mutants of a C file: small changes inside its functions, found in the text.

The house style helps: a function's braces stand in column 1, nothing else's do. Comments, strings and
preprocessor lines are left alone, and what the preprocessor leaves out as well.
"""
import hashlib
import re

SWAPS = {"==": ["!="], "!=": ["=="], "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="],
         ">=": [">", "<"], "&&": ["||"], "||": ["&&"], "+": ["-"], "-": ["+"], "*": ["+"], "/": ["*"],
         "%": ["/"], "&": ["|"], "|": ["&"], "^": ["|"], "<<": [">>"], ">>": ["<<"], "+=": ["-="],
         "-=": ["+="], "|=": ["&="], "&=": ["|="], "++": ["--"], "--": ["++"], "true": ["false"],
         "false": ["true"], "0": ["1"], "1": ["0", "2"], "!": [""], "~": [""]}
TOKEN = re.compile(r"[A-Za-z_]\w*|0[xX][0-9A-Fa-f]+|\d+|<<=|>>=|->|\+\+|--|<<|>>|[-+*/%&|^=!<>]=|&&|\|\||\S")
UNARY_BEFORE = set("(,=?:{;[!~&|+-*/%<>") | {"return", "&&", "||", "==", "!=", "<=", ">=", "<<", ">>", "case",
                                             "+=", "-=", "|=", "&="}
STATEMENT = re.compile(r"^ +((?:\(void\))?[a-z_]\w*\([^;{}]*\)|[a-z_][^;{}=\n]*[^=!<>]=[^=;{}][^;{}]*);$", re.M)
DECLARATION = re.compile(r"(const|struct|enum|uint\w+|int|bool|size_t|static|char|void|return)\b")
NAME = re.compile(r"(\w+)\s*\(")


def blank(text):
    """Comments, strings, character constants and preprocessor lines become spaces."""
    pattern = re.compile(r"/\*[\s\S]*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|^[ \t]*#(?:\\\n|[^\n])*",
                         re.M)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def words(text):
    return " ".join(text.split())


class Function:
    """A body, from its brace to its brace: text[begin:end]."""

    def __init__(self, path, text, plain, begin, end):
        self.path, self.begin, self.end = path, begin, end
        self.text, self.plain = text[begin:end], plain[begin:end]
        self.line = text.count("\n", 0, begin) + 1
        head = plain[max(plain.rfind("\n\n", 0, begin), plain.rfind(";", 0, begin), 0):begin]
        found = [name for name in NAME.findall(head) if name != "__attribute__"]
        self.name = found[0] if found else "?"


class Mutant:
    """A change of a function: its characters at..at+length become `other`."""

    def __init__(self, function, at, length, other, chosen=None):
        body = function.text
        self.function, self.at, self.length, self.other, self.chosen = function, at, length, other, chosen
        self.path = function.path
        self.line = function.line + body.count("\n", 0, at)
        start, last = body.rfind("\n", 0, at) + 1, body.find("\n", at + length)
        last = len(body) if last < 0 else last
        self.before = words(body[start:last])
        self.after = words(body[start:at] + other + body[at + length:last])
        parts = [self.path, function.name, body, str(at), str(length), other]
        self.key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]

    def body(self):
        return self.function.text[:self.at] + self.other + self.function.text[self.at + self.length:]


# ---- What is changed ----

def is_pointer(plain, at):
    return re.match(r"\*\s*(\w+\s*[;,=)\[]|const\b|\()", plain[at:at + 40]) and \
        re.search(r"(struct \w+|enum \w+|void|char|\w+_t|\bbool|\))\s*$", plain[max(0, at - 40):at])


def swaps(plain):
    """Another operator or constant."""
    before = ""
    for match in TOKEN.finditer(plain):
        token, at = match.group(), match.start()
        unary = token in ("*", "&", "-", "+") and (before in UNARY_BEFORE or before == "")
        if token in SWAPS and not unary and not (token == "*" and is_pointer(plain, at)):
            for other in SWAPS[token]:
                yield at, len(token), other
        elif re.match(r"\d", token) and token not in SWAPS:
            number = int(token, 0) + 1
            yield at, len(token), f"{number:#x}" if token[1:2] in ("x", "X") else str(number)
        before = token


def statements(plain):
    """A call or an assignment left out."""
    for match in STATEMENT.finditer(plain):
        if not DECLARATION.match(match.group(1)):
            yield match.start(1), len(match.group(1)), "(void)0"


def closing(plain, at):
    """Where the parenthesis at `at` is closed."""
    depth = 0
    for place in range(at, len(plain)):
        depth += {"(": 1, ")": -1}.get(plain[place], 0)
        if not depth:
            return place
    return len(plain)


def conditions(plain):
    """The condition of an if always and never."""
    for match in re.finditer(r"\bif \(", plain):
        begin = match.end()
        length = closing(plain, begin - 1) - begin
        yield begin, length, "true"
        yield begin, length, "false"


def edge(plain, at, step, stops):
    """How far the operand reaches from `at` in that direction."""
    depth = 0
    opening, ending = ("(", ")") if step > 0 else (")", "(")
    while 0 <= at < len(plain):
        character = plain[at]
        if character in opening + ("[{" if step > 0 else "]}"):
            depth += 1
        elif character in ending + ("]}" if step > 0 else "[{"):
            depth -= 1
        pair = plain[at:at + 2] if step > 0 else plain[max(at - 1, 0):at + 1]
        if depth < 0 or (not depth and (character in ";,?:" or pair in stops)):
            return at
        if not depth and character == "=" and plain[at - 1] not in "=!<>" and plain[at + 1] != "=":
            return at
        at += step
    return at


def operands(plain):
    """One side of a && or || left out."""
    for match in re.finditer(r"&&|\|\|", plain):
        stops = ("||",) if match.group() == "||" else ("&&", "||")
        left = edge(plain, match.start() - 1, -1, stops) + 1
        right = edge(plain, match.end(), 1, stops)
        word = re.match(r"\s*(return\b\s*)?", plain[left:match.start()])
        left += word.end()
        yield left, len(plain[left:match.end()]), ""
        yield match.start(), right - match.start(), ""


def functions_of(path, text):
    plain = blank(text)
    return [Function(path, text, plain, m.start(), m.end()) for m in re.finditer(r"^\{[\s\S]*?^\}", plain, re.M)]


# Which of two equal numbers is taken does not matter.
LESSER = re.compile(r"([\w.>\[\]() +-]+?) ([<>]=?) ([\w.>\[\]() +-]+?)\s+\? ([^?:;]+?)\s+: ([^?:;]+?)[;,)]")
# The size of a local array, and whether a compare-exchange in a loop may fail without a reason.
SIZES = re.compile(r"^ +(?:const )?(?:struct \w+|u?int\d+_t|bool|char) \w+\[([^]]+)\]", re.M)
WEAK = re.compile(r"__atomic_compare_exchange_n\([^;]*?,\s*(false|true)\s*,")


def meaningless(plain):
    """Places where a change means the same by the form of the text: {offset: replacements, or None for all}."""
    places = {}
    for match in SIZES.finditer(plain):
        places.update({at: None for at in range(*match.span(1))})
    for match in WEAK.finditer(plain):
        places[match.start(1)] = None
    for match in LESSER.finditer(plain):
        left, sign, right, yes, no = (words(text) for text in match.groups())
        left = left.split(" = ")[-1].removeprefix("return ")
        if {left, right} == {yes, no}:
            places[match.start(2)] = {sign + "=", sign.rstrip("=")}
    return places


def mutants_of(function, live):
    """All mutants of a function on lines that the preprocessor keeps, without twins."""
    without = meaningless(function.plain)
    found = {}
    for kind in (swaps, statements, conditions, operands):
        for at, length, other in kind(function.plain):
            mutant = Mutant(function, at, length, other)
            if at in without and (without[at] is None or other in without[at]):
                continue
            if mutant.line in live and mutant.body() != function.text:
                found.setdefault(words(mutant.body()), mutant)
    return sorted(found.values(), key=lambda m: (m.at, m.other))


# ---- Mutants by hand ----

def read_pairs(path):
    """Entries "FILE FUNCTION", then lines "-   BEFORE" and "+   AFTER", then words, indented."""
    entries = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.rstrip()
            if not line or line.startswith("#"):
                continue
            if line[0] in "-+ ":
                key = {"-": "before", "+": "after", " ": "words"}[line[0]]
                entries[-1][key] = (entries[-1][key] + " " + line[1:].strip()).strip()
            else:
                name, _, function = line.partition(" ")
                entries.append({"file": name, "function": function, "before": "", "after": "", "words": ""})
    return entries


def chosen_mutant(function, entry):
    """The mutant that an entry describes, or None: its text is there exactly once, however it is laid out."""
    pattern = r"\s+".join(re.escape(word) for word in entry["before"].split())
    found = list(re.finditer(pattern, function.text))
    if len(found) != 1:
        return None
    return Mutant(function, found[0].start(), len(found[0].group()), entry["after"], entry["words"])
