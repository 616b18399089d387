"""What has been imported in this process, for code that imports nothing itself."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["loaded"]


def loaded(name: str) -> Any:
    """The module, if it is imported; None if not, and while some thread is about to import it.

    A module is in ``sys.modules`` from the beginning of its import on, with hardly anything in it. Until the end of
    the import nobody has anything of it, so to its users it is the same as one that nobody has asked for. Does not
    wait, and may be called from any thread.

    Args:
        name: Its full name.
    """
    module: Any = sys.modules.get(name)
    if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
        return None
    return module
