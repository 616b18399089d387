"""mainspring together with other libraries, each of which is an extra: ``pip install 'mainspring[dask]'``.

- ``dask``: tasks on a Dask cluster
- ``ray``: tasks on a Ray cluster
"""

from __future__ import annotations

__all__: list[str] = []
