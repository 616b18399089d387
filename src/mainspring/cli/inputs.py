"""Inputs for paused runs as the command line gives them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from mainspring.exceptions import ConfigurationError

__all__ = ["read_input"]


def read_input(text: str | None) -> Any:
    """The input that ``--input`` gives: JSON, a file with JSON (``@file.json``), or standard input (``-``).

    None without it, as for ``null``: no input.

    Raises:
        ConfigurationError: It is no JSON, or the file cannot be read.
    """
    if text is None:
        return None
    where, content = "--input", text
    try:
        if text == "-":
            where, content = "standard input", sys.stdin.read()
        elif text.startswith("@"):
            where, content = text[1:], Path(text[1:]).read_text(encoding="utf-8")
        return msgspec.json.decode(content)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The input cannot be read from {where}: {error}") from error
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"The input of {where} is not JSON ({error}). A text is in double quotes, and those in single quotes for"
            f" the shell: --input '\"yes\"'"
        ) from None
