"""Where the interpreters of Python, Perl, Ruby and Node look for modules, and how a source file names those it loads.

A *tree* is a directory that an interpreter looks for modules in; a *top* is the first part of a module's name, which is
a file or a directory in a tree (`nova` for nova.cmd.compute, `File` for File::Spec). Data and pure functions only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Language:
    """An interpreter's language."""

    name: str
    program: re.Pattern[str]
    """The names of its programs."""
    suffixes: tuple[str, ...]
    """What files of code end with."""
    trees: tuple[str, ...]
    """Patterns (glob) of the system's trees."""
    path_variable: str
    """The environment variable with further trees."""
    imports: re.Pattern[bytes]
    """Finds what a source file loads; the first group that is there has the names."""
    inline: tuple[str, ...]
    """Options after which there is a program, and no file."""
    with_value: str
    """Options of one letter with a value, which may be the next argument."""


PYTHON = Language(
    name="python",
    program=re.compile(r"^(?:python|pypy)(?:\d[\d.]*)?$"),
    suffixes=(".py", ".so"),
    trees=(
        "/usr/lib/python3/dist-packages",
        "/usr/lib/python[23].*/dist-packages",
        "/usr/lib/python[23].*/site-packages",
        "/usr/lib64/python[23].*/site-packages",
        "/usr/local/lib/python[23].*/dist-packages",
        "/usr/local/lib/python[23].*/site-packages",
        "/usr/local/lib64/python[23].*/site-packages",
        "/usr/lib/python[23].*",
        "/usr/lib64/python[23].*",
        "/usr/local/lib/python[23].*",
    ),
    path_variable="PYTHONPATH",
    imports=re.compile(rb"\n[ \t]*(?:import[ \t]+([^#\n;]+)|from[ \t]+(\w[\w.]*)[ \t]+import\b)"),
    inline=("-c",),
    with_value="WX",
)
PERL = Language(
    name="perl",
    program=re.compile(r"^perl(?:5[\d.]*)?$"),
    suffixes=(".pm", ".pl", ".so", ".al"),
    trees=(
        "/etc/perl",
        "/usr/local/lib/*/perl/5*",
        "/usr/local/share/perl/5*",
        "/usr/local/share/perl5",
        "/usr/local/lib64/perl5",
        "/usr/lib/*/perl5/5*",
        "/usr/lib/*/perl-base",
        "/usr/lib/*/perl/5*",
        "/usr/lib64/perl5/vendor_perl",
        "/usr/lib64/perl5",
        "/usr/share/perl5/vendor_perl",
        "/usr/share/perl5",
        "/usr/share/perl/5*",
    ),
    path_variable="PERL5LIB",
    imports=re.compile(rb"\n[ \t]*(?:use[ \t]+(?:base|parent)\b\W+(?:qw\W+)?|use|require)[ \t]*([A-Za-z]\w*)"),
    inline=("-e", "-E"),
    with_value="I",
)
RUBY = Language(
    name="ruby",
    program=re.compile(r"^j?ruby(?:\d[\d.]*)?$"),
    suffixes=(".rb", ".so"),
    trees=(
        "/usr/local/lib/site_ruby",
        "/usr/lib/ruby/vendor_ruby",
        "/usr/lib/ruby/[1-9]*",
        "/usr/lib/*/ruby/vendor_ruby/[1-9]*",
        "/usr/lib/*/ruby/[1-9]*",
        "/usr/share/ruby/vendor_ruby",
        "/usr/share/ruby",
        "/usr/lib64/ruby",
        "/usr/share/rubygems",
        "/usr/share/rubygems-integration/*/gems/*/lib",
        "/usr/share/gems/gems/*/lib",
        "/usr/local/share/gems/gems/*/lib",
        "/var/lib/gems/*/gems/*/lib",
    ),
    path_variable="RUBYLIB",
    imports=re.compile(rb"\b(?:require|load|gem|autoload[ \t(]+:\w+[ \t]*,)[ \t(]*['\"]([\w.-]+)"),
    inline=("-e",),
    with_value="Ir",
)
NODE = Language(
    name="node",
    program=re.compile(r"^node(?:js)?$"),
    suffixes=(".js", ".cjs", ".mjs", ".json", ".node"),
    trees=("/usr/share/nodejs", "/usr/lib/nodejs", "/usr/lib/node_modules", "/usr/local/lib/node_modules"),
    path_variable="NODE_PATH",
    imports=re.compile(rb"\b(?:require|import|from)[ \t(]*['\"]([@\w][\w.-]*)"),
    inline=("-e", "-p"),
    with_value="r",
)
ALL = (PYTHON, PERL, RUBY, NODE)

# Directories in a tree that are trees themselves.
NESTED = ("dist-packages", "site-packages", "vendor_perl", "vendor_ruby", "site_ruby", "gems")

# Their own files are all that they load; a script of theirs is found by its path.
SHELLS = re.compile(r"^(?:ba|da|k|z|a)?sh$|^busybox$")
JAVA = re.compile(r"^java$")
JARS = (".jar", ".class", ".war")
# A server that has Python within; what it loads from there is not on its command line (mod_wsgi, uwsgi).
EMBEDDED_PYTHON = re.compile(r"/libpython(\d)[\d.]*\.so")


def language(program: str) -> Language | None:
    """The language whose interpreter a program is."""
    return next((one for one in ALL if one.program.match(program)), None)


def top(kind: Language, inside: str) -> str:
    """The top that a file belongs to, by its path within a tree; empty for what is no module."""
    first, slash, rest = inside.partition("/")
    if kind is PYTHON and first == "__pycache__":
        first, slash = rest, ""
    if first.endswith(("-info", ".data")) or first in NESTED:
        return ""
    return first if slash else first.split(".")[0]


def names(kind: Language, text: bytes) -> Iterator[str]:
    """The tops that a source file loads, as far as its text tells."""
    # A pattern that begins with the end of a line is searched for much faster than one that begins with a beginning.
    for groups in kind.imports.findall(b"\n" + text):
        found = groups if isinstance(groups, bytes) else groups[0] or groups[1]
        for one in found.decode(errors="replace").split(",") if kind is PYTHON else [found.decode(errors="replace")]:
            # `a.b as c`
            words = one.strip(" \t\r\\()").split()
            if words:
                yield words[0].split(".")[0] if kind in (PYTHON, RUBY) else words[0]


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a command line runs: a file, or a module; neither where it does not tell (a program in an argument)."""

    script: str = ""
    module: str = ""


def entry(kind: Language, arguments: list[str]) -> Entry:
    """What an interpreter's command line, its own name included, runs."""
    left = iter(arguments[1:])
    for argument in left:
        if kind is PYTHON and argument == "-m":
            return Entry(module=next(left, ""))
        if argument in kind.inline or argument == "-":
            return Entry()
        if not argument.startswith("-"):
            return Entry(script=argument)
        if argument[1:] and argument[-1] in kind.with_value and len(argument) == 2:
            next(left, "")
    return Entry()
