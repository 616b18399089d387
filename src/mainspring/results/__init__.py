"""Results: kept in the run store, in files or elsewhere, found again by a key, and described in the states of runs.

``store``      `ResultStore`: where and how the results of a run are kept, and the one that is active here
``history``    `HistoryStorage`: results in the run store, large ones in files
``locations``  from an option or a setting to a file system
``keys``       names of results, and templates for them
``defaults``   serializer and persistence where nobody says it
``memory``     records that are kept in memory
``options``    what a store reads of the options of tasks and flows
``locks``      keys that one run has for itself
``parameters`` the arguments of runs that another process goes on with

Records themselves, a value and what is known about it, are in `mainspring.records`.
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring.records import ResultRecord, ResultRecordMetadata
    from mainspring.results.defaults import (
        get_default_persist_setting,
        get_default_result_serializer,
        resolve_serializer,
        should_persist_result,
    )
    from mainspring.results.history import HistoryStorage
    from mainspring.results.keys import render_storage_key
    from mainspring.results.locations import get_default_result_storage, resolve_result_storage
    from mainspring.results.store import ResultStore, get_current_result_store, get_result_store

__all__ = [
    "HistoryStorage",
    "ResultRecord",
    "ResultRecordMetadata",
    "ResultStore",
    "get_current_result_store",
    "get_default_persist_setting",
    "get_default_result_serializer",
    "get_default_result_storage",
    "get_result_store",
    "render_storage_key",
    "resolve_result_storage",
    "resolve_serializer",
    "should_persist_result",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".defaults": [
            "get_default_persist_setting",
            "get_default_result_serializer",
            "resolve_serializer",
            "should_persist_result",
        ],
        ".history": ["HistoryStorage"],
        ".keys": ["render_storage_key"],
        ".locations": ["get_default_result_storage", "resolve_result_storage"],
        ".store": ["ResultStore", "get_current_result_store", "get_result_store"],
        "mainspring.records": ["ResultRecord", "ResultRecordMetadata"],
    },
)
