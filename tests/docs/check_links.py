#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_links.py FOLDER: every link of the site leads to a file and an anchor that are there, every
picture has a text, no page is out of reach from index.html. Links to other sites are counted only."""
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.wrong = [], set(), []
        self.feed(path.read_text(errors="replace"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        for name in ("id", "name"):
            if values.get(name):
                self.anchors.add(values[name])
        for name in ("href", "src", "data"):
            if values.get(name) and tag in ("a", "img", "link", "script", "iframe", "object", "area"):
                self.links.append(values[name])
        if tag == "img" and "alt" not in values or tag == "svg" and "aria-label" not in values:
            self.wrong.append(f"a picture ({values.get('src', 'svg')}) without a text")


def main():
    folder = Path(sys.argv[1]).resolve()
    pages = {path.name: Page(path) for path in sorted(folder.glob("*.html"))}
    failed, outside, links, reached = 0, set(), 0, {"index.html"}
    for name, page in pages.items():
        for wrong in page.wrong:
            print(f"FAIL: {name}: {wrong}")
            failed += 1
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                outside.update([] if parts.scheme in ("javascript", "data") else [link])
                continue
            links += 1
            target = unquote(parts.path) or name
            reached.update([target] if target != name else [])
            if not (folder / target).exists():
                print(f"FAIL: {name}: {link}: no such file")
                failed += 1
            elif parts.fragment and target in pages and \
                    unquote(parts.fragment) not in pages[target].anchors:
                print(f"FAIL: {name}: {link}: no such place in {target}")
                failed += 1
    lost = [name for name in pages if name not in reached and name.startswith("page_")]
    for name in lost:
        print(f"FAIL: nothing leads to {name}")
    print(f"{len(pages)} pages, {links} links, {len(outside)} to other sites, {failed + len(lost)} failed")
    return failed + len(lost) != 0 or links < 1000


if __name__ == "__main__":
    sys.exit(main())
