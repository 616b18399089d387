"""What tests of flows and tasks need, beside `pytest`; nothing of it is loaded by `import mainspring`.

- `children`: a function in a forked process that may die
- `invariants`: what holds for every history, whatever has happened
- `traces`: what user code saw, to be compared with the history
"""

from mainspring.testing.children import ChildError

__all__ = ["ChildError"]
