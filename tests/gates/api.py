#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that libllm.so exports what llm.h declares and libllm.map lists, nothing else, that each
name begins with llm_, and that each call has its man page, a test and an example."""
import itertools
import os
import re
import subprocess

import lib

problems = []
library = os.path.join(os.environ.get("BUILD", "build"), "libllm.so")
nm = subprocess.run(["nm", "-D", "--defined-only", library], stdout=subprocess.PIPE, check=True)
symbols = [line.split() for line in nm.stdout.decode().splitlines()]
exported = {s[-1].split("@")[0] for s in symbols if s[-2] != "A"}
version_script = re.sub(r"/\*.*?\*/", "", lib.read("lib/libllm.map"), flags=re.S)
listed = set(re.findall(r"(\w+)\s*;", version_script.split("local:")[0]))
header = lib.Source("lib/include/llm.h")
inline = {name for name, _, _, _ in header.functions()}
declared = {name for name, _, _ in header.prototypes()} - inline


for name in sorted(exported | listed | declared | inline):
    if not name.startswith("llm_"):
        problems.append(f"{name}: does not begin with llm_")
views = [("libllm.so", exported), ("libllm.map", listed), ("llm.h", declared)]
for (a_name, a), (b_name, b) in itertools.permutations(views, 2):
    problems.extend(f"{name}: in {a_name}, not in {b_name}" for name in sorted(a - b))

used = {"tests": set(), "examples": set()}
for path in lib.files(".c"):
    used.get(path.split("/")[0], set()).update(re.findall(r"\w+", lib.Source(path).code))
for name in sorted(declared | inline):
    problems.extend(f"{name}: {room}/ never calls it" for room in used if name not in used[room])
    if not os.path.isfile(f"man/{name}.3"):
        problems.append(f"{name}: man/{name}.3 is missing")
for path in lib.files(".3"):
    name = os.path.basename(path)[:-2]
    text = lib.read(path)
    if name.startswith("llm_") and name not in declared | inline:
        problems.append(f"{path}: lib/include/llm.h declares no {name}")
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION"):
        if not text.startswith(".so ") and not re.search(rf'^\.S[hH] "?{section}\b', text, re.M):
            problems.append(f"{path}: no section {section}")
lib.finish(problems)
