"""Tasks on a Ray cluster: ``pip install 'mainspring[ray]'``.

- ``runner``: `RayTaskRunner`
- ``options``: `remote_options`, what runs want of Ray
- ``cluster``: what the runner needs of Ray
- ``work``: what Ray calls in a worker
"""

from mainspring.integrations.ray.options import remote_options
from mainspring.integrations.ray.runner import RayTaskRunner

__all__ = ["RayTaskRunner", "remote_options"]
