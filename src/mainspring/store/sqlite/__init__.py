"""The default run store: one file, or memory.

``store``        transactions, maintenance, forks
``connections``  how connections are made and guarded, and what their errors mean
``bells``        waking other processes that use the file
``schema``       recognising a database and bringing it up to date with ``migrations/*.sql``
``administration``  the database as a whole: what it is, bringing it up to date, vacuuming it
"""

from mainspring.store.sqlite.store import SQLiteRunStore

__all__ = ["SQLiteRunStore"]
