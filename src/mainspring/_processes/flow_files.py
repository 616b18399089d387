"""Modules of flow files that cannot be imported by their names, because others have these: workers load them, too."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType

__all__ = ["OWN_NAMES", "find_flow_files", "flow_files"]

OWN_NAMES = "__flow_file_"
"""What the names of such modules begin with."""


def flow_files() -> dict[str, str]:
    """The files of the modules of this kind that are loaded here, by the names of the modules."""
    return {
        name: str(module.__file__)
        for name, module in list(sys.modules.items())
        if name.startswith(OWN_NAMES) and getattr(module, "__file__", None)
    }


def find_flow_files(files: Mapping[str, str]) -> None:
    """Let this process import modules that are loaded in another one, where `flow_files` has named them."""
    if files:
        sys.meta_path.append(_Finder(files))


class _Finder(MetaPathFinder):
    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)
