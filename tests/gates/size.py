#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that files, functions, parameter lists and lines keep their limits, that no line ends in
blanks, no note to self is left, every source names its licence. Reports the share of comments."""
import collections
import os
import re

import lib

problems = []
lengths = collections.defaultdict(list)
comment_lines = collections.Counter()
all_lines = collections.Counter()


def n_parameters(text):
    text = re.sub(r"\([^()]*\)", "", text).strip()
    return 0 if text in ("", "void") else text.count(",") + 1


def check_text(path):
    lines = lib.read(path).split("\n")[:-1]
    is_code = path.endswith(lib.C_NAMES + (".sh", ".py", "Makefile"))
    if is_code and len(lines) > 1000:
        problems.append(f"{path}: {len(lines)} lines, at most 1000")
    if is_code and not any("SPDX-License-Identifier:" in line for line in lines[:2]):
        problems.append(f"{path}:1: no SPDX-License-Identifier")
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            problems.append(f"{path}:{number}: blanks at the end of the line")
        if is_code and (n := len(line.expandtabs(8))) > 100:
            problems.append(f"{path}:{number}: {n} columns, at most 100")
        if is_code and re.search(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b", line):
            problems.append(f"{path}:{number}: a note to self")


def check_functions(source):
    folder = os.path.dirname(source.path)
    for name, parameters, line, length in source.functions():
        limit = 150 if name == "forward" or source.path.endswith(".cu") else 100
        lengths[folder].append(length)
        if length > limit:
            problems.append(f"{source.path}:{line}: {name}() has {length} lines, at most {limit}")
    for name, parameters, line, *_ in [*source.functions(), *source.prototypes()]:
        if (n := n_parameters(parameters)) > 5:
            problems.append(f"{source.path}:{line}: {name}() has {n} parameters, at most 5")
    comment_lines[folder] += sum(1 for line in source.comments.split("\n") if line.strip())
    all_lines[folder] += sum(1 for line in source.text.split("\n") if line.strip())


for path in lib.files(*lib.C_NAMES, ".sh", ".py", ".md", ".map", ".txt", "Makefile"):
    check_text(path)
for source in map(lib.Source, lib.files(*lib.C_NAMES)):
    check_functions(source)
for folder, n in sorted(lengths.items()):
    # One function of the largest twentieth, rounded up, may be longer than p95.
    p95 = sorted(n)[int(0.95 * (len(n) - 1))]
    if p95 > 60:
        problems.append(f"{folder}: p95 of function lengths is {p95} lines, at most 60")
    share = 100 * comment_lines[folder] // max(all_lines[folder], 1)
    print(f"{folder}: {len(n)} functions, p95 {p95} lines, longest {max(n)}, comments {share} %")
lib.finish(problems)
