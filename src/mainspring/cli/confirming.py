"""Asking before something is gone."""

from __future__ import annotations

import sys

from mainspring.exceptions import ConfigurationError

__all__ = ["confirm"]


def confirm(question: str, yes: bool) -> bool:
    """Whether to go on: what somebody at the terminal says, or ``--yes`` has said before.

    Args:
        question: Asked with ``[y/N]`` behind it, on standard error.
        yes: The answer, if it is known.

    Raises:
        ConfigurationError: There is no terminal to ask at.
    """
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigurationError(
            f"{question} There is nobody to ask, so nothing was changed. Give --yes to do it."
        )
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
