# SPDX-License-Identifier: MIT
"""What the gates share: the files of the tree, and C text split into code, comments and functions.

Not a C parser: it relies on the tree's style: braces balance whatever the preprocessor selects.
"""
import bisect
import os
import re
import subprocess
import sys

C_NAMES = (".c", ".h", ".cu", ".cuh")


def files(*endings):
    """Paths of the tree, from its root (the working directory), ending in one of `endings`."""
    if os.path.isdir(".git"):
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        found = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found = found.stdout.decode().split("\0")
    else:
        found = [os.path.relpath(os.path.join(d, f)) for d, _, fs in os.walk(".") for f in fs]
        found = [f for f in found if not re.match(r"build|models/|\.git/", f)]
    return sorted(f for f in found if f.endswith(endings or "") and os.path.isfile(f))


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def blank(text):
    """The same text with everything but line ends turned into blanks, so that offsets stay."""
    return re.sub(r"[^\n]", " ", text)


class Source:
    """A C file: `code` is without comments, strings, directives; `comments` is nothing else."""
    TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.M)
    HEAD = re.compile(r"(\w+)\s*\(((?:[^()]|\([^()]*\))*)\)\s*(?:__\w+(?:\(.*\))?\s*)*$", re.S)
    CALLABLE = re.compile(r"(?:(\w+)|\(\*(\w+)\))\(((?:[^()]|\([^()]*\))*)\)\s*(?:__\w+[^;]*)?;")

    def __init__(self, path):
        self.path = path
        self.text = read(path)
        self.ends = [m.start() for m in re.finditer("\n", self.text)]
        code = self.TOKEN.sub(lambda m: blank(m[0]), self.text)
        self.code = self.DIRECTIVE.sub(lambda m: blank(m[0]), code)
        self.comments, at = "", 0
        for m in self.TOKEN.finditer(self.text):
            if m[0][0] == "/":
                self.comments += blank(self.text[at:m.start()]) + m[0]
                at = m.end()

    def line(self, offset):
        return bisect.bisect_left(self.ends, offset) + 1

    def blocks(self):
        """(head, its offset, offset of the closing brace) of each outermost {...}."""
        depth, start, opened = 0, 0, 0
        for m in re.finditer(r"[{};]", self.code):
            if m[0] == "{":
                depth += 1
                if depth == 1:
                    opened = m.start()
            elif m[0] == "}":
                depth -= 1
                if depth == 0:
                    yield self.code[start:opened], start, m.start()
            if depth == 0:
                start = m.end()

    def functions(self):
        """(name, parameters, first line, number of lines) of each definition."""
        for head, start, end in self.blocks():
            m = self.HEAD.search(head.rstrip())
            if m:
                first = self.line(start + len(head) - len(head.lstrip()))
                yield m[1], m[2], first, self.line(end) - first + 1

    def prototypes(self):
        """(name, parameters, line) of each declaration outside bodies, also in structs."""
        outside = self.code
        for head, start, end in self.blocks():
            if self.HEAD.search(head.rstrip()):
                outside = outside[:start] + blank(outside[start:end]) + outside[end:]
        for m in self.CALLABLE.finditer(outside):
            yield m[1] or m[2], m[3], self.line(m.start())


def finish(problems):
    sys.exit("\n".join(problems) or 0)
