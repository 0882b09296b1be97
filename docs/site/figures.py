# SPDX-License-Identifier: MIT
"""Pictures as inline SVG, from the tables and from the library itself. Colours are classes of
site.css, so that a picture is right in light and in dark."""
import html
import json
import re
import subprocess
import tempfile
from pathlib import Path

CHAR = 6.6  # width of a character of the pictures' 11 px text


class Svg:
    def __init__(self, width, label):
        self.width, self.height, self.label = width, 0, label
        self.parts = []

    def add(self, text):
        self.parts.append(text)

    def text(self, x, y, text, css="", anchor="middle"):
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">'
                 f"{html.escape(text)}</text>")

    def rect(self, x, y, width, height, css):
        self.add(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
                 f'class="{css}"/>')

    def line(self, x1, y1, x2, y2, css):
        self.add(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>')

    def head(self, x, y, direction, css="hv-head"):
        self.add(f'<path d="M{x:.1f},{y:.1f} l{-8 * direction},-4 l0,8 z" class="{css}"/>')

    def done(self):
        return (f'<div class="hv-figure"><svg viewBox="0 0 {self.width:.0f} {self.height:.0f}" '
                f'width="{self.width:.0f}" height="{self.height:.0f}" role="img" '
                f'aria-label="{html.escape(self.label, quote=True)}">'
                + "".join(self.parts) + "</svg></div>")


def words(name):
    return name.replace("_", " ").capitalize() if name.isupper() else name


# ---- Bits ----

def bit_rows(fields, reserved, size):
    """Fill the gaps between fields: (high, low, name, css) from the top down."""
    found, top = [], size - 1
    for high, low, name in sorted(fields, reverse=True):
        if high < top:
            found.append((top, high + 1, "", "hv-gap"))
        found.append((high, low, name, "hv-field"))
        top = low - 1
    if top >= 0:
        found.append((top, 0, "", "hv-gap"))
    return found


def bits(title, fields, reserved=None, size=64):
    """A register: lanes of 32 bits, the names inside where they fit, otherwise on steps below."""
    cell, left, lane_gap = 22.0, 4.0, 26.0
    svg = Svg(32 * cell + 2 * left, f"bits of {title}")
    cells = bit_rows(fields, reserved, size)
    y = 14.0
    for lane in range((size - 1) // 32, -1, -1):
        base = lane * 32
        steps = []
        for high, low, name, css in cells:
            high, low = min(high, base + 31), max(low, base)
            if high < low:
                continue
            x, width = left + (base + 31 - high) * cell, (high - low + 1) * cell
            svg.rect(x, y, width, 26, css)
            svg.text(x + min(cell / 2, width / 2), y - 4, str(high), "hv-bit")
            if high != low:
                svg.text(x + width - cell / 2, y - 4, str(low), "hv-bit")
            if name and len(name) * CHAR + 6 <= width:
                svg.text(x + width / 2, y + 17, name)
            elif name:
                steps.append((x + width / 2, name))
        y += 26
        for step, (x, name) in enumerate(reversed(steps)):
            depth = y + 12 + step * 15
            flip = x - len(name) * CHAR - 14 < 0
            svg.add(f'<polyline points="{x:.1f},{y:.1f} {x:.1f},{depth - 4:.1f} '
                    f'{x + (8 if flip else -8):.1f},{depth - 4:.1f}" class="hv-leader"/>')
            svg.text(x + (11 if flip else -11), depth, name, anchor="start" if flip else "end")
        y += len(steps) * 15 + lane_gap
    svg.height = y - lane_gap + 6
    return svg.done()


def bytes_of(title, size, fields):
    """A struct: 8 bytes a row; what repeats or is longer than two rows is one row with its size."""
    cell, left = 92.0, 56.0
    svg = Svg(left + 8 * cell + 4, f"bytes of {title}")
    y = 16.0
    for byte in range(8):
        svg.text(left + (byte + 0.5) * cell, y - 5, f"+{byte}", "hv-bit")
    ends = [offset for _, offset, _ in fields[1:]] + [size]
    beside = None  # where a name stands that is too long for its own place: in the gap behind it
    for (name, offset, _), end in zip(fields, ends):
        css = "hv-gap" if re.match(r"(reserved|rsvd|pad)", name) else "hv-field"
        first = True
        while offset < end:
            upto = min(end, (offset // 8 + 1) * 8)
            if first and offset % 8 == 0 and end - offset > 8:
                upto = end
            if offset % 8 == 0:
                svg.text(left - 6, y + 17, f"{offset:#x}", "hv-bit", "end")
            x = left + (offset % 8) * cell
            width = 8 * cell if upto - offset > 8 else (upto - offset) * cell
            label = name + (f" ({upto - offset} bytes)" if upto - offset > 8 else "")
            svg.rect(x, y, width, 26, css)
            if beside == (x, y):
                pass
            elif len(label) * CHAR <= width:
                svg.text(x + width / 2, y + 17, label)
            else:
                beside = (x + width, y)
                svg.text(x + width + 5, y + 17, "< " + label, anchor="start")
            if upto % 8 == 0:
                y += 26
            offset, first = upto, False
    svg.height = y + 6
    return svg.done()


# ---- Sequences: a replay script is run, and what happened is drawn ----

CALLBACKS = {
    "overlay-set": "overlay_set", "overlay-clear": "overlay_clear", "kick": "kick",
    "deadline": "arm_deadline", "apic-write": "apic_write", "crash": "crash", "flush": "tlb_flush",
    "flush-queued": "tlb_flush_queued", "idle": "", "reset": "system_reset", "spin-wait": "spin_wait",
    "start-vp": "start_vp", "tsc-emulation": "tsc_emulation", "post": "", "signal": ""}
OVERLAYS = ["hypercall page", "reference TSC page", "VP assist page", "message page", "event page"]
HOST = {"freeze": "hvtlfs_freeze", "thaw": "hvtlfs_thaw", "migrate": "hvtlfs_migrate",
        "post": "hvtlfs_synic_post_message", "signal": "hvtlfs_synic_signal_event",
        "save": "hvtlfs_state_save", "load": "hvtlfs_state_load", "reset": "hvtlfs_partition_reset",
        "inject": "the APIC gets an interrupt:", "sleep": "time passes, 100 ns x",
        "connection": "hvtlfs_connection_add"}


def instrumented(script):
    """The script's lines; after each command, what the host was asked for."""
    vps = int((re.search(r"^partition .*\bvps=(\d+)", script, flags=re.M) or [0, "1"])[1])
    lines = []
    for line in script.splitlines():
        lines.append(line)
        if line.strip() and not line.startswith("#"):
            lines.append("events all")
            lines += [f"interrupts {vp}" for vp in range(vps)]
    return lines


def played(tool, path):
    """[(command or comment, result, [callbacks])] of a script."""
    lines = instrumented(Path(path).read_text())
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / Path(path).name
        script.write_text("\n".join(lines) + "\n")
        run = subprocess.run([tool, "replay", "--print", "--json", str(script)], cwd=folder,
                             capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{path}: {run.stdout.splitlines()[-1:]} {run.stderr}")
    results = {entry["line"]: entry for entry in map(json.loads, run.stdout.splitlines())}
    steps = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            if "SPDX" not in line:
                steps.append((line, None, []))
        elif line.split(" ")[0] in ("events", "interrupts") and steps:
            result = results[number]["result"]
            if result != "none" and line.startswith("events"):
                steps[-1][2].extend(callback(item) for item in result.split(" ; "))
            elif result != "none":
                steps[-1][2].extend(f"request_interrupt(VP {line.split()[1]}, {vector})"
                                    for vector in result.split())
        elif line.strip():
            steps.append((results[number]["command"], results[number]["result"], []))
    return [(command, result, [text for text in calls if text]) for command, result, calls in steps]


def callback(event):
    name, *items = event.split()
    values = dict(item.split("=", 1) for item in items if "=" in item)
    function = CALLBACKS.get(name, name)
    if name in ("overlay-set", "overlay-clear"):
        kind = int(values["kind"], 0)
        return f"{function}({OVERLAYS[kind] if kind < 5 else 'statistics page'}, {values['gpa']})"
    if name == "deadline":
        when = int(values["at"], 0)
        return f"{function}({'none' if when == 2 ** 64 - 1 else when})"
    if name == "kick":
        return f"kick(VP {values['vp']})"
    if name == "flush":
        return f"tlb_flush({values['vps']} VPs, {values['ranges']} ranges)"
    return f"{function}({', '.join(f'{key}={value}' for key, value in values.items())})" if function else ""


def short(text, room):
    return text if len(text) <= room else text[:room - 3] + "..."


def arrow(command):
    """(from, to, text) of a command: lanes 0 guest, 1 library, 2 VMM."""
    verb, *rest = command.split()
    if verb in ("rdmsr", "wrmsr"):
        return 0, 1, f"{verb.upper()} {' '.join(rest[1:])}".replace("HV_X64_MSR_", "")
    if verb == "cpuid":
        return 0, 1, f"CPUID {rest[1]}"
    if verb == "hypercall":
        return 0, 1, f"hypercall {' '.join(rest[1:])}"
    if verb == "partition":
        return 2, 1, f"hvtlfs_partition_init: {' '.join(rest)}" if rest else "hvtlfs_partition_init"
    if verb in ("read", "write", "guesttime", "eoi", "guesttsc"):
        return 0, 0, {"read": f"reads memory at {rest[0]}",
                      "write": f"writes memory at {rest[0]}: {rest[-1]}",
                      "guesttime": "computes the time", "guesttsc": "reads its TSC",
                      "eoi": "ends the interrupt"}[verb]
    return 2, 1, f"{HOST.get(verb, verb)} {' '.join(rest)}"


def sequence(tool, path):
    """The picture of a script."""
    lanes, room = (60.0, 400.0, 720.0), 47
    svg = Svg(780.0, f"sequence of {Path(path).stem}")
    y, drawn = 44.0, []
    for command, result, calls in played(tool, path):
        if command.startswith("#"):
            text = command.lstrip("# ")
            drawn.append(("note", y, text))
            y += 24
            continue
        start, end, text = arrow(command)
        if start == end:
            drawn.append(("own", y, f"{text} = {short(result, 40)}" if result != "ok" else text))
            y += 26
        else:
            drawn.append(("arrow", y, start, end, short(text, room)))
            y += 20
        for call in calls:
            drawn.append(("arrow", y, 1, 2, short(call, room - 4)))
            y += 20
        if start == 0 and end == 1:
            drawn.append(("back", y, 1, 0, short(result, room + 8)))
            y += 24
        elif start == 2 and result not in ("ok",):
            drawn.append(("back", y, 1, 2, short(result, room - 4)))
            y += 24
        else:
            y += 4
    svg.height = y + 14
    for x, name in zip(lanes, ("guest", "libhvtlfs", "VMM")):
        svg.rect(x - 50, 4, 100, 24, "hv-lane")
        svg.text(x, 20, name, "hv-strong")
        svg.line(x, 28, x, svg.height - 6, "hv-life")
    for kind, at, *rest in drawn:
        draw_step(svg, lanes, kind, at, rest)
    return svg.done()


def draw_step(svg, lanes, kind, y, rest):
    if kind == "note":
        svg.rect(2, y - 14, svg.width - 4, 18, "hv-note")
        svg.text(svg.width / 2, y - 1, rest[0], "hv-strong")
        return
    if kind == "own":
        width = len(rest[0]) * CHAR + 14
        svg.rect(12, y - 14, width, 20, "hv-own")
        svg.text(12 + width / 2, y, rest[0])
        return
    start, end, text = rest
    x1, x2 = lanes[start], lanes[end]
    direction = 1 if x2 > x1 else -1
    svg.line(x1, y, x2 - 6 * direction, y, "hv-back" if kind == "back" else "hv-arrow")
    svg.head(x2, y, direction)
    svg.text((x1 + x2) / 2, y - 4, text)


# ---- Graphviz and the error plot ----

def graph(path):
    """A dot file as inline SVG in the site's colours: across, and for narrow windows downwards."""
    return ('<div class="hv-figure hv-graph"><div class="hv-wide">' + drawn_graph(path, "LR") +
            '</div><div class="hv-narrow">' + drawn_graph(path, "TB") + "</div></div>")


def drawn_graph(path, direction):
    text = Path(path).read_text().replace("rankdir=LR", f"rankdir={direction}")
    run = subprocess.run(["dot", "-Tsvg"], input=text, check=True, capture_output=True, text=True)
    svg = run.stdout[run.stdout.index("<svg"):]
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r'<polygon fill="white"[^>]*/>', "", svg, count=1)
    svg = re.sub(r' (fill|stroke)="(black|none|white|#000000)"', "", svg)
    svg = re.sub(r' font-(family|size)="[^"]*"', "", svg)
    svg = re.sub(r' id="[^"]*"', "", svg)
    svg = re.sub(r"<title>.*?</title>", "", svg, flags=re.S)
    return re.sub(r'width="(\d+)pt" height="(\d+)pt"', r'width="\1" height="\2" role="img" '
                  f'aria-label="{Path(path).stem}"', svg)


def error_plot(tool, hz):
    """The error of the TSC page over the whole TSC, from exact integers: the library's scale against
    the true quotient, before rounding. The library's own values are checked on the way."""
    left, top, width, height, points = 58.0, 16.0, 640.0, 220.0, 320
    scale = (10 ** 7 << 64) // hz
    values = [(index * (2 ** 64 - 1)) // (points - 1) for index in range(points)]
    run = subprocess.run([tool, "reftime", "--tsc-hz", str(hz), "--json", *map(str, values)],
                         check=True, capture_output=True, text=True)
    said = json.loads(run.stdout)["times"]
    svg = Svg(left + width + 16, f"error of the reference TSC page at {hz} Hz")
    lost = []
    for tsc, entry in zip(values, said):
        shown = tsc * scale >> 64
        if int(entry["reference_time"], 0) != shown or int(entry["error"]) not in (0, 1):
            raise SystemExit(f"hvtlfs reftime and integers differ at TSC {tsc}")
        lost.append((tsc * (10 ** 7 << 64) - tsc * scale * hz) / (hz << 64))
    for tick in (0.0, 0.5, 1.0):
        y = top + height * (1 - tick)
        svg.line(left, y, left + width, y, "hv-grid")
        svg.text(left - 6, y + 4, f"{tick:g}", "hv-bit", "end")
    for part in range(5):
        x = left + width * part / 4
        svg.line(x, top, x, top + height, "hv-grid")
        svg.text(x, top + height + 14, ["0", "2^62", "2^63", "3 x 2^62", "2^64"][part], "hv-bit")
    points_text = " ".join(f"{left + width * tsc / 2 ** 64:.1f},{top + height * (1 - value):.2f}"
                           for tsc, value in zip(values, lost))
    svg.add(f'<polyline points="{points_text}" class="hv-curve"/>')
    svg.text(left + width / 2, top + height + 32, f"TSC at {hz:,} Hz".replace(",", " "))
    svg.add(f'<text transform="translate(14,{top + height / 2:.0f}) rotate(-90)" '
            'text-anchor="middle">units of 100 ns lost to the scale</text>')
    svg.height = top + height + 42
    return svg.done()
