"""Mainspring makes a plain Python function a tracked, retried, resumable task."""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # slow to import, so only when asked for

        return version("mainspring")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
