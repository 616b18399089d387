"""What is in the repository is right on every machine."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.source import ROOT

MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")
REGISTRY_HOST = re.compile(
    r"pypi\.org|files\.pythonhosted\.org|registry\.npmjs\.org|proxy\.golang\.org|deb\.debian\.org"
)
LINK = re.compile(r"\]\(<?(?!\w+:|#)([^)#>\s]+)")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", "-z", "--", *patterns]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = (ROOT / name for name in done.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


def matches(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked()
        for number, line in enumerate(path.read_text("utf-8", "ignore").splitlines(), start=1)
        if pattern.search(line)
    ]


def broken_links() -> Iterator[str]:
    for path in tracked("*.md"):
        for target in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
            if not (path.parent / target).exists():
                yield f"{path.relative_to(ROOT)}: {target}"


def test_no_machine_paths() -> None:
    """No file knows where somebody's checkout or home is."""
    assert not matches(MACHINE_PATH)


def test_no_registry_hosts() -> None:
    """Where packages come from is the business of whoever installs them."""
    assert not matches(REGISTRY_HOST)


def test_links_resolve() -> None:
    """A relative link in a Markdown file leads to a file or directory."""
    assert not list(broken_links())


def test_each_test_states_its_rule() -> None:
    """A test proves one rule, and its docstring says which."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in tracked("tests/**/test_*.py", "tests/test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent
