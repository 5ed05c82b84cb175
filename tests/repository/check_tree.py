#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the rules of the source tree: which room may include which, who may know which library, licence lines, file
sizes; and of the pages in Markdown: lengths of lines, widths of tables, links, code.

    check_tree.py [ROOT]     prints one line a fault; exit code 1 if there are any
"""
import pathlib
import re
import sys

# A room may include its own headers and those listed here: whole rooms, or single headers of a room that is otherwise higher up.
CONTRACTS = ["models/causal_model", "models/token_spec"]
ROOMS = {
    "core": [],
    "ops": ["core"],
    "media": ["core"],
    "drawing": ["core", "media"],
    "models": ["core", "ops"],
    "diffusion": ["core", "ops", *CONTRACTS],
    "data": ["core", "media", *CONTRACTS],
    "sampling": ["core", "ops", "drawing", "diffusion", *CONTRACTS],
    "training": ["core", "ops", "media", "drawing", "data", *CONTRACTS],
    "evaluation": ["core", "media", "drawing", "data", "diffusion", "sampling", *CONTRACTS],
    "planning": ["core", "media", "drawing", "data", "diffusion", "sampling", *CONTRACTS],
    "maze_world": ["core", "media", "data", *CONTRACTS],
    "maze2d": ["core", "media", "drawing", "data", "diffusion", "sampling", "planning", *CONTRACTS],
    "config": ["core", "media", "drawing", "models", "diffusion", "data", "sampling", "training", "evaluation", "planning", "maze_world", "maze2d"],
    "procedures": ["core", "media", "drawing", "models", "diffusion", "data", "sampling", "training", "evaluation", "planning", "maze_world", "maze2d",
                   "config"],
    "cuda": ["core", "ops"],
}
# Public headers: the standard library, and these.
PUBLIC_SYSTEM_HEADERS = {"ATen/core/Tensor.h", "ATen/core/Generator.h", "c10/core/Device.h", "c10/core/ScalarType.h"}
PUBLIC_EXCEPTIONS = {"models/causal_model": {"torch/nn/module.h"}}

# Libraries that only some sources may know: pattern of the include -> pattern of the sources.
LIBRARIES = {
    r"opencv2/": r"src/media/opencv_[^/]*$",
    r"lib(av|sw)[a-z]+/": r"src/media/ffmpeg[^/]*$|tests/support/video_maker[^/]*$",
    r"mujoco/": r"src/[^/]*/mujoco_[^/]*$",
    r"hdf5": r"src/data/hdf5_storage\.cpp$",
    r"yaml-cpp/": r"src/config/|tests/config/",
    r"CLI/": r"apps/",
    r"torch/torch\.h": r"nowhere",
    r"gtest/": r"tests/",
    r"benchmark/": r"bench/",
}
CUDA_CODE = re.compile(
    r"cudart|\bcuda_runtime|<(ATen|c10|torch)/(csrc/)?cuda|\b(at|c10|torch)::cuda\b|\bcuda[A-Z]\w+\(|\bkCUDA\b|\bDeviceType::CUDA\b|"
    r"\bnccl[A-Z]\w+\(|__global__")
CUDA_PLACES = re.compile(r"src/cuda/|tests/cuda/|(src|include/diffusion_forcing)/core/accelerator[^/]*$")

MAX_LINES = {"tests": 500}  # of a C++ file; 400 elsewhere
MAX_README, MAX_COLUMNS, MAX_CELLS = 250, 120, 6  # of pages in Markdown: lines of the README, characters of a line, columns of a table
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def room_and_name(path):
    """("sampling", "sampling/plan") of src/sampling/plan.cpp or include/diffusion_forcing/sampling/plan.hpp; None elsewhere."""
    match = re.match(r"(?:src|include/diffusion_forcing)/(([a-z_0-9]+)/(?:.*/)?[^/]+)\.\w+$", path)
    return (match.group(2), match.group(1)) if match else (None, None)


def included_part(target):
    """"sampling/plan" of an include of one of our headers, public or private; None for others."""
    match = re.match(r"(?:diffusion_forcing/)?([a-z_0-9]+/.+)\.(?:hpp|cuh)$", target)
    return match.group(1) if match and match.group(1).split("/")[0] in ROOMS else None


def may_include(room, part):
    return part.split("/")[0] in [room, *ROOMS[room]] or part in ROOMS[room]


def faults_of_source(path, text):
    room, name = room_and_name(path)
    public = path.startswith("include/")
    if not text.startswith("// SPDX-License-Identifier: MIT\n"):
        yield f"{path}:1: the first line must be '// SPDX-License-Identifier: MIT'"
    if path.endswith(".hpp") and "\n#pragma once\n" not in text:
        yield f"{path}:1: no #pragma once"
    lines = text.count("\n")
    most = MAX_LINES.get(path.split("/")[0], 400)
    if lines > most:
        yield f"{path}:{lines}: more than {most} lines; split it by concept"
    if room is not None and room not in ROOMS:
        yield f"{path}:1: room '{room}' is not in the table of tests/repository/check_tree.py"
        return

    for match in INCLUDE.finditer(text):
        kind, target = match.groups()
        place = f"{path}:{text.count(chr(10), 0, match.start(2)) + 1}"
        part = included_part(target)
        if room and part and not may_include(room, part):
            yield f"{place}: {name} must not include {target}: not a lower layer"
        if public and kind == "<" and re.search(r"[./]", target):
            if target not in PUBLIC_SYSTEM_HEADERS | PUBLIC_EXCEPTIONS.get(name, set()):
                yield f"{place}: a public header must not include <{target}>"
        if public and kind == '"' and not target.startswith("diffusion_forcing/"):
            yield f"{place}: a public header must not include the private \"{target}\""
        for library, places in LIBRARIES.items():
            if re.match(library, target) and not re.match(places, path):
                yield f"{place}: <{target}> may be included in {places} only"

    if re.match(r"src/|include/|apps/", path) and not CUDA_PLACES.match(path):
        for number, line in enumerate(text.splitlines(), 1):
            if CUDA_CODE.search(line.split("//")[0]):
                yield f"{path}:{number}: CUDA is known in src/cuda and the accelerator only: {line.strip()}"


def include_cycles(graph):
    """Cycles of the public headers: part -> parts."""
    state = {}

    def visit(part, way):
        state[part] = "open"
        for other in graph.get(part, ()):
            if state.get(other) == "open":
                yield "include cycle: " + " -> ".join([*way[way.index(other):], other])
            elif other not in state:
                yield from visit(other, [*way, other])
        state[part] = "done"

    for part in graph:
        if part not in state:
            yield from visit(part, [part])


def pages_of(root):
    """The Markdown files of the repository, without what was built or downloaded beside it."""
    folders = [f for f in sorted(root.iterdir()) if f.is_dir() and not f.name.startswith((".", "build", "runs"))]
    return sorted([*root.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))])


def anchors_of(text):
    """Names that a link may have behind '#': GitHub makes them from the headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def faults_of_page(root, page):
    """Lines of at most 120 characters (addresses in the web do not count), tables of at most six columns, a README of at most 250 lines,
    and links to files and headings that exist."""
    path, text = page.relative_to(root).as_posix(), page.read_text(encoding="utf-8")
    lines = text.splitlines()
    if path == "README.md" and len(lines) > MAX_README:
        yield f"{path}:{len(lines)}: more than {MAX_README} lines; move what few readers need to docs/"
    in_code = False
    for number, line in enumerate(lines, 1):
        place = f"{path}:{number}"
        length = len(re.sub(r"https?://[^\s)>]+", "", line))
        if length > MAX_COLUMNS:
            yield f"{place}: {length} characters; expected at most {MAX_COLUMNS}"
        if line.startswith("```"):
            in_code = not in_code
        if in_code:
            continue
        cells = len(re.split(r"(?<!\\)\|", line.strip().strip("|"))) if line.lstrip().startswith("|") else 0
        if cells > MAX_CELLS:
            yield f"{place}: a table of {cells} columns; expected at most {MAX_CELLS}"
        for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", line):
            file, _, anchor = (target[0] or target[1]).partition("#")
            if re.match(r"[a-z]+:", file):
                continue
            there = (page.parent / file) if file else page
            if not there.exists():
                yield f"{place}: {file} does not exist"
            elif anchor and anchor not in anchors_of(there.read_text(encoding="utf-8")):
                yield f"{place}: no heading of {there.name} has the anchor #{anchor}"


def faults_of_code_blocks(root, page):
    """C++ of the README and the guides is text that the tests compile: each block stands, but for white space, in a file of examples/. A
    block's includes may stand apart from the rest."""
    def squeezed(lines):
        return " ".join(" ".join(lines).split())

    path, text = page.relative_to(root).as_posix(), page.read_text(encoding="utf-8")
    sources = [squeezed(f.read_text(encoding="utf-8").splitlines()) for f in sorted((root / "examples").glob("*.cpp"))]
    for match in re.finditer(r"^```(?:cpp|c\+\+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines = match.group(1).splitlines()
        includes = [line for line in lines if line.startswith("#include")]
        parts = [squeezed([include]) for include in includes] + [squeezed(line for line in lines if line not in includes)]
        if not any(all(part in source for part in parts) for source in sources):
            yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}: this C++ block is not a part of a file in examples/"


def faults_of_tree(root):
    graph = {}
    for folder in ("include", "src", "apps", "tests", "bench", "examples"):
        for file in sorted((root / folder).rglob("*")):
            path = file.relative_to(root).as_posix()
            if file.suffix in (".cpp", ".hpp", ".cu", ".cuh"):
                text = file.read_text(encoding="utf-8")
                yield from faults_of_source(path, text)
                if path.startswith("include/"):
                    graph[room_and_name(path)[1]] = [p for p in (included_part(m.group(2)) for m in INCLUDE.finditer(text)) if p]
    yield from include_cycles(graph)
    for page in pages_of(root):
        yield from faults_of_page(root, page)
        if page == root / "README.md" or page.parent == root / "docs" / "guide":
            yield from faults_of_code_blocks(root, page)
    scripts = [*(root / "scripts").glob("*.sh"), *(root / "scripts").glob("*.py"), *(root / "tests").rglob("*.py"), *(root / "docs").glob("*.py")]
    for file in sorted(scripts):
        if "SPDX-License-Identifier: MIT" not in "".join(file.read_text(encoding="utf-8").splitlines(True)[:2]):
            yield f"{file.relative_to(root)}:1: no SPDX line among the first two"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2])
    if not (root / "include").is_dir():
        sys.exit(f"{root} is not the root of the source tree")
    faults = list(faults_of_tree(root))
    print("\n".join(faults) if faults else "the tree is in order")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
