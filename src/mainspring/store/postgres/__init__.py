"""The run store for many machines: a PostgreSQL database.

This package needs the extra ``postgres`` and is loaded when such a store is opened.

``store``        transactions, and what becomes of them when the connection breaks
``connections``  how connections are made, shared and given up, and what their errors mean
``dialect``      statements as PostgreSQL wants them, sent without waiting for each answer
``schema``       recognising a database and bringing it up to date with ``migrations/*.sql``
``administration``  looking after a database as a whole
``bells``        waking other processes by NOTIFY
``administration``  the database as a whole: what it is, bringing it up to date, vacuuming it
"""

from mainspring.store.postgres.store import PostgresRunStore

__all__ = ["PostgresRunStore"]
