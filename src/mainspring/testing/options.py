"""Numbers that are given to the kit, refused early if they cannot work."""

from __future__ import annotations

from typing import Any

from mainspring.exceptions import ConfigurationError

__all__ = ["require_number", "require_patience"]


def require_number(name: str, value: Any, expected: str = "a whole number above 0") -> None:
    """Refuse anything but a whole number above 0.

    Args:
        name: The name of the option.
        value: What was given.
        expected: What it means, in words.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name}={value!r}: give {expected}.")


def require_patience(value: Any) -> None:
    """Refuse anything but a number above 0, which may be infinite.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigurationError(f"patience={value!r}: give seconds, above 0.")
