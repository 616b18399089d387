"""Hashes of values by their content: the same in every process, on every machine and with every hash seed.

``digests``     :func:`hash_objects` and its kin, what cache keys are made with
``canonical``   any value as bytes, objects of all kinds
``walk``        the rules for that, and the built-in types
``transforms``  arrays, frames and tables as plainer values, :data:`STABLE_TRANSFORMS`
``sources``     the text of functions, and what they refer to
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring.hashing.digests import (
        content_hash,
        content_hashes,
        file_hash,
        hash_objects,
        items_hash,
        stable_hash,
    )
    from mainspring.hashing.sources import references_of, source_of
    from mainspring.hashing.transforms import STABLE_TRANSFORMS

__all__ = [
    "STABLE_TRANSFORMS",
    "content_hash",
    "content_hashes",
    "file_hash",
    "hash_objects",
    "items_hash",
    "references_of",
    "source_of",
    "stable_hash",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".digests": [
            "content_hash",
            "content_hashes",
            "file_hash",
            "hash_objects",
            "items_hash",
            "stable_hash",
        ],
        ".sources": ["references_of", "source_of"],
        ".transforms": ["STABLE_TRANSFORMS"],
    },
)
