#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that folders include only what the design's arrows allow, and that "..." files exist."""
import os
import re

import lib

ALLOWED = {
    "uapi": {"uapi"},
    "kmod": {"kmod", "uapi"},
    "kernels": {"kernels"},
    "lib": {"lib", "uapi"},
    "daemon": {"daemon", "kernels", "uapi"},
    "tools": {"tools", "lib/include"},
    "examples": {"lib/include"},
    "tests": {"tests", "lib", "daemon", "kernels", "uapi"},
}
# Tools that link the engine as an archive.
OFFLINE = re.compile(r"tools/(llmbench|llmeval|llmtok|llmplan)(_\w+)?\.[ch]$")

problems = []
for source in map(lib.Source, lib.files(*lib.C_NAMES)):
    room = source.path.split("/")[0]
    allowed = ALLOWED.get(room)
    if allowed is None:
        problems.append(f"{source.path}: no room of the design, which are {sorted(ALLOWED)}")
        continue
    if OFFLINE.match(source.path):
        allowed = allowed | {"daemon", "kernels", "uapi"}
    for m in re.finditer(r'^[ \t]*#[ \t]*include[ \t]+(["<])([^">]+)[">]', source.text, re.M):
        tried = [os.path.join(d, m[2]) for d in (os.path.dirname(source.path), "", "lib/include")]
        target = next((os.path.normpath(t) for t in tried if os.path.isfile(t)), None)
        where = f"{source.path}:{source.line(m.start())}"
        if target is None and m[1] == '"':
            problems.append(f'{where}: "{m[2]}" is not in the tree')
        elif target and not any(target.startswith(a + "/") for a in allowed):
            problems.append(f"{where}: {room} may not include {target}")
lib.finish(problems)
