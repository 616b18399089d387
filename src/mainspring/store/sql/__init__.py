"""The run store in a database, whichever it is: SQL that SQLite and PostgreSQL share.

``store``        `SQLRunStore`, which backends inherit from; the parts of it that are about one thing each are
                 ``sharing`` (limits and locks), ``retention`` (results), ``requests`` (what people ask of runs), and
                 ``event_log``
``transacting``  what these are built on, and backends have to provide
``statements``   what runs statements, and how one text serves both databases

Functions of a cursor, inside of a transaction that the caller has begun:

``writing``      appending states and logs
``amending``     what clients change
``deleting``     deleting runs with all that belongs to them; ``aging`` is what else is old
``queries``      everything that is read about runs; ``filters`` makes conditions of filters
``history``      all rows at one moment
``slots``        concurrency limits, and who holds or waits for their slots
``locks``        locks on keys, and who holds them
``keeping``      results, and transactions that go on
``waiting``      flow runs that wait for somebody; ``cancelling`` is about those that somebody wants to end
``event_rows``   events, and those who follow
``owners``       which process a run belongs to, and whether that process is alive
``settling``     what becomes of the runs, slots and locks of a dead one
``rows``         records as rows and rows as records
"""

from mainspring.store.sql.store import SQLRunStore

__all__ = ["SQLRunStore"]
