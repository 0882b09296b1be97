# SPDX-License-Identifier: MIT
"""Plots as SVG text, from the numbers alone: no library, and the same bytes for the same numbers."""
from xml.sax.saxutils import escape

COLOURS = ("#2563a8", "#c2571a", "#3b7d3f", "#7a4ea3", "#8a8a8a", "#111111", "#b8860b")
FONT = 'font-family="DejaVu Sans, Arial, sans-serif"'


class Drawing:
    def __init__(self, width, height, title):
        self.size = (width, height)
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>']

    def rect(self, x, y, width, height, colour):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
                          f'height="{height:.1f}" fill="{colour}"/>')

    def line(self, x1, y1, x2, y2, colour="#444444", width=1.0, dash=""):
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'stroke="{colour}" stroke-width="{width}"{dashes}/>')

    def text(self, x, y, text, size=12, anchor="start", colour="#222222", weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" {FONT} '
                          f'text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">'
                          f"{escape(str(text))}</text>")

    def path(self, points, colour):
        steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{steps}" fill="none" stroke="{colour}" '
                          'stroke-width="2"/>')

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(self.parts + ["</svg>"]) + "\n")


def number(value):
    """Three digits, without a power of ten."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def bars(path, title, rows, unit, legend=(), marks="goal"):
    """Horizontal bars. A row: (name, (value, ...), goal or None); one colour for each value."""
    series = max(len(values) for _, values, _ in rows)
    step = 12 * series + 8
    left, width, top = 230, 860, 64 + (18 if legend else 0)
    most = max([v for _, values, _ in rows for v in values] + [g or 0 for _, _, g in rows])
    drawing = Drawing(width, top + step * len(rows) + 20, title)
    scale = (width - left - 110) / most
    drawing.text(16, 26, title, 16, weight="bold")
    drawing.text(16, 46, unit + (f"; the tick is the {marks}" if any(g for *_, g in rows) else ""),
                 12, colour="#666666")
    for i, name in enumerate(legend):
        drawing.rect(16 + 260 * i, 54, 12, 12, COLOURS[i])
        drawing.text(34 + 260 * i, 64, name)
    for i, (name, values, goal) in enumerate(rows):
        y = top + step * i
        drawing.text(left - 8, y + step / 2 + 1, name, 11, "end")
        for j, value in enumerate(values):
            drawing.rect(left, y + 12 * j + 2, value * scale, 10, COLOURS[j])
            drawing.text(left + max(value, goal or 0) * scale + 6, y + 12 * j + 11, number(value), 10)
        if goal:
            drawing.line(left + goal * scale, y, left + goal * scale, y + 12 * series + 3, "#b00020", 2)
    drawing.save(path)


def curves(path, title, x_name, y_name, lines):
    """Curves over logarithmic axes. A line: (name, [(x, y), ...])."""
    import math
    width, height, left, right, top, bottom = 860, 440, 80, 210, 60, 50
    drawing = Drawing(width, height, title)
    points = [p for _, line in lines for p in line if p[0] > 0 and p[1] > 0]
    x_low, x_high = (f(math.log10(x) for x, _ in points) for f in (min, max))
    y_low = math.floor(min(math.log10(y) for _, y in points))
    y_high = math.ceil(max(math.log10(y) for _, y in points))

    def at(x, y):
        return (left + (math.log10(x) - x_low) / ((x_high - x_low) or 1) * (width - left - right),
                height - bottom - (math.log10(y) - y_low) / ((y_high - y_low) or 1)
                * (height - top - bottom))

    drawing.text(16, 26, title, 16, weight="bold")
    drawing.text(16, 46, y_name, 12, colour="#666666")
    drawing.text((left + width - right) / 2, height - 10, x_name, 12, "middle", "#666666")
    for decade in range(y_low, y_high + 1):
        x, y = at(10 ** x_low, 10.0 ** decade)
        drawing.line(x, y, width - right, y, "#dddddd")
        drawing.text(left - 8, y + 4, f"{10.0 ** decade:g}", 11, "end")
    for x in sorted({x for x, _ in points}):
        drawing.text(at(x, 10.0 ** y_low)[0], height - bottom + 18, f"{x:g}", 11, "middle")
    label = top
    for i, (name, line) in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        shown = [at(x, y) for x, y in line if x > 0 and y > 0]
        drawing.path(shown, colour)
        drawing.rect(width - right + 14, label - 9, 12, 12, colour)
        drawing.text(width - right + 32, label + 1, name, 11)
        label += 18
    drawing.save(path)
