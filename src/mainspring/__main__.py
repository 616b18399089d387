"""``python -m mainspring``: the command line."""

from mainspring.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
