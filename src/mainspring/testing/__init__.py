"""What tests of flows and tasks need, beside `pytest`; nothing of it is loaded by `import mainspring`.

- `children`: a function in a forked process that may die
"""

from mainspring.testing.children import ChildError

__all__ = ["ChildError"]
