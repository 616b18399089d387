"""Flow files in processes that work for this one: where their modules are, whatever these are called."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import NamedTuple

__all__ = ["OWN_NAMES", "FlowFiles", "add_folder"]

OWN_NAMES = "__flow_file_"
"""What the names of modules begin with that cannot be imported by the names of their files, as others have these."""

_folders: list[str] = []


def add_folder(folder: str) -> None:
    """Let this process, and those that work for it, import what is in a folder."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if folder not in _folders:
        _folders.append(folder)


class FlowFiles(NamedTuple):
    """What another process has to know to import what flow files define.

    Args:
        folders: Where the files are, and what they import.
        files: Those of modules with names of our own, by these.
    """

    folders: tuple[str, ...]
    files: Mapping[str, str]

    @classmethod
    def here(cls) -> FlowFiles:
        """What has been loaded in this process."""
        files = {
            name: str(module.__file__)
            for name, module in list(sys.modules.items())
            if name.startswith(OWN_NAMES) and getattr(module, "__file__", None)
        }
        return cls(tuple(_folders), files)

    def find(self) -> None:
        """Let this process import them; they have been loaded in another one."""
        for folder in reversed(self.folders):
            add_folder(folder)
        if self.files:
            _finder.files.update(self.files)
            if _finder not in sys.meta_path:
                sys.meta_path.append(_finder)


class _Finder:
    """A finder of modules. Its base class is not needed, and takes milliseconds to load."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self.files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


_finder = _Finder()
