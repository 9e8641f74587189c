#!/usr/bin/env python3
"""Every relative link of a Markdown page leads to a file, and its #anchor to a heading there. Lint runs this.

`links_test.py PAGE...` checks those pages; it first proves that a made-up broken link is found.
"""
import os
import re
import sys
import tempfile

LINK = re.compile(r"\[[^\]\n]*\]\(<?([^)>\s]+)>?\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.S | re.M)
INLINE_CODE = re.compile(r"`[^`\n]*`")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.I)


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def anchors(text):
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ +(.*?) *$", FENCE.sub(blank, text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page):
    """(line, link) of each link of the page that leads nowhere."""
    with open(page, encoding="utf-8") as file:
        text = file.read()
    found = []
    for number, line in enumerate(FENCE.sub(blank, text).split("\n"), 1):
        for link in LINK.findall(INLINE_CODE.sub(lambda m: "x" * len(m.group()), line)):
            if ELSEWHERE.match(link):
                continue
            name, _, anchor = link.partition("#")
            target = os.path.join(os.path.dirname(page), name) if name else page
            if not os.path.exists(target):
                found.append((number, link))
            elif anchor and target.endswith(".md"):
                with open(target, encoding="utf-8") as file:
                    if anchor not in anchors(file.read()):
                        found.append((number, link))
    return found


SAMPLE = """# A page: one

[good](other.md) [here](#a-page-one) [there](other.md#the-end) [web](https://example.org/x) [folder](.)
[`code`](gone.md) `[not](a-link.md)`
```
[not](a-link.md)
```
[bad](#two) [bad](other.md#nowhere)
"""
SAMPLE_BROKEN = [(4, "gone.md"), (8, "#two"), (8, "other.md#nowhere")]


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("page.md", SAMPLE), ("other.md", "## The end\n")):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        found = broken_links(os.path.join(folder, "page.md"))
    if found != SAMPLE_BROKEN:
        sys.exit("self-test: found %s, wanted %s" % (found, SAMPLE_BROKEN))


def main():
    self_test()
    pages, broken = sys.argv[1:], 0
    for page in pages:
        for line, link in broken_links(page):
            print("%s:%d: %s leads nowhere" % (page, line, link))
            broken += 1
    print("%d pages checked, %d broken links" % (len(pages), broken))
    return 1 if broken or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
