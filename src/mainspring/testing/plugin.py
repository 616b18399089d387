"""The plugin for pytest: it is found by itself where mainspring is installed, and loads nothing that is not used."""

__all__: list[str] = []
