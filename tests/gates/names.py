#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that each function and file of ours that a comment or a document names exists, and that a
`file: function()`, as in docs/life-of-a-request.md, is defined in that file."""
import ctypes
import glob
import os
import re

import lib

ROOMS = "uapi|kmod|kernels|lib|daemon|tools|tests|examples|man|docs|packaging"
# Functions of others that are not in libc, by the prefix of their library.
FOREIGN = re.compile(r"(io_uring|pcre2|json|ini|crypto|sodium|utf8proc|sd|hwloc|numa|_mm\w*|"
                     r"__builtin)_\w+$|cuda[A-Z]|LLVMFuzzer")

sources = [lib.Source(f) for f in lib.files(*lib.C_NAMES)]
defined_in = {}
known = set()
for source in sources:
    defined_in[source.path] = {name for name, _, _, _ in source.functions()}
    defined_in[source.path].update(re.findall(r"(?m)^\s*#\s*define\s+(\w+)\(", source.text))
    known |= defined_in[source.path] | {name for name, _, _ in source.prototypes()}
    known |= set(re.findall(r"\(\s*\*\s*(\w+)\s*\)\s*\(", source.code))
paths = lib.files()
basenames = {os.path.basename(p) for p in paths}
libc = [ctypes.CDLL(None), ctypes.CDLL("libm.so.6")]
problems = []


def exists(name):
    is_libc = any(hasattr(c, name) for c in libc)
    return name in known or is_libc or FOREIGN.match(name)


def check(path, text, line_of):
    for m in re.finditer(r"`([\w./-]+\.\w+):\s*(\w+)\(\)`", text):
        if m[2] not in defined_in.get(m[1], ()):
            problems.append(f"{path}:{line_of(m.start())}: {m[2]}() is not defined in {m[1]}")
    for m in re.finditer(r"(?<![\w.>-])([A-Za-z_]\w+)\(\)", text):
        if not exists(m[1]):
            problems.append(f"{path}:{line_of(m.start())}: {m[1]}() is not in the tree")
    named = rf"(?<![\w./$}}-])((?:{ROOMS})/[\w*./-]*\w\.(?:c|h|cu|sh|py|md|map|txt|[1-8]))\b"
    quoted = rf"`((?:{ROOMS})/[\w*./-]*|[\w-]+\.(?:c|h|cu|md|map|sh|py))`"
    for m in [*re.finditer(named, text), *re.finditer(quoted, text)]:
        if "/" in m[1] and not glob.glob(m[1]) or "/" not in m[1] and m[1] not in basenames:
            problems.append(f"{path}:{line_of(m.start())}: {m[1]} is not in the tree")


for source in sources:
    check(source.path, source.comments, source.line)
for path in paths:
    if path.endswith(".md") and path != "CHANGELOG.md" or re.match(r"man/.*\.[1-8]$", path):
        # What is fenced is code or a drawing; troff's font changes are no text.
        text = re.sub(r"(?ms)^```.*?^```", lambda m: lib.blank(m[0]), lib.read(path))
        text = re.sub(r"\\f[BIRP]|\\&", "", text)
        check(path, text, lambda offset, text=text: text.count("\n", 0, offset) + 1)
lib.finish(sorted(set(problems)))
