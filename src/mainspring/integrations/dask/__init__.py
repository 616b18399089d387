"""Tasks on a Dask cluster: ``pip install 'mainspring[dask]'``.

- ``runner``: `DaskTaskRunner`
- ``cluster``: what the runner needs of Dask
- ``work``: what Dask calls in a worker
"""

from mainspring.integrations.dask.runner import DaskTaskRunner

__all__ = ["DaskTaskRunner"]
