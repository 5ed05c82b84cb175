#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Input filter of Doxygen: turns the `//` comments of our headers into comments that Doxygen reads.

    doxygen_filter.py HEADER     prints the header, line for line

The licence line becomes @file, so that the comment below it describes the file. A comment on lines of its own describes what
follows, a comment behind code describes that code, and lines below such a comment, as far to the right, continue it. No line is
added, so that line numbers stay those of the header. Comments are plain text to us: what Doxygen would take for a tag or a
command is escaped.
"""
import re
import sys

LICENCE = "// SPDX-License-Identifier: MIT"
COMMENT = re.compile(r"^(?P<code>.*?)(?P<slashes>//+)(?P<text> .*|)$")


def escaped(text):
    parts = re.split(r"(`[^`]*`)", text)  # names in backticks are left alone
    return "".join(p if p.startswith("`") else re.sub(r"([<>@\\#&])", r"\\\1", p) for p in parts)


def is_indented(text):
    """A line indented further than its comment is a formula or an entry of a list."""
    return re.match(r" {2,}\S", text) is not None


def in_string(code):
    return code.count('"') % 2 == 1


def filtered(lines):
    column = None  # of the comment behind code that the next line may continue
    indented = False  # whether the line before was: it and what follows it keep lines of their own
    for line in lines:
        match = COMMENT.match(line)
        text = match["text"] if match else ""
        starts_line = is_indented(text) or (indented and text)
        indented = is_indented(text)
        if line == LICENCE:
            yield "/// @file"
        elif match is None or in_string(match["code"]):
            column = None
            yield line
        elif match["code"].strip():
            column = match.start("slashes")
            yield f"{match['code']}///<{escaped(text)}"
        elif match.start("slashes") == column:
            yield f"{match['code']}///<{escaped(text)}"
        else:
            column = None
            yield f"{match['code']}///{' @n' if starts_line else ''}{escaped(text)}"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as header:
        print("\n".join(filtered(header.read().splitlines())))
