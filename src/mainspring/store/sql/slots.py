"""Concurrency limits in a database: the statements behind `LimitStore`, as functions of a cursor.

How much of a limit is taken is the sum of its rows in ``slots``. Rows of dead processes go when their owner is
settled; rows whose lease has run out go when somebody needs the room, and count until then for their holder.
Limits with decay are the exception: their slots belong to nobody and vanish by themselves, so what is left of
them is one number and the time it was true.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from mainspring._imports import modules_on_use
from mainspring.exceptions import ObjectAlreadyExists
from mainspring.identifiers import new_id
from mainspring.store.sql.statements import ask

if TYPE_CHECKING:
    from mainspring.store import limits as asked
    from mainspring.store.limits import ConcurrencyLimit, LimitChange, SlotAnswer, SlotHolder, SlotRequest
    from mainspring.store.sql.statements import Cursor
else:
    asked = modules_on_use("mainspring.store", "limits")

__all__ = [
    "add_limit",
    "change_limit",
    "delete_limit",
    "may_take",
    "read_holders",
    "read_limits",
    "release",
    "release_some",
    "renew",
    "rivals",
    "take",
    "write_limit",
]

MINIMUM_OCCUPANCY_SECONDS = 0.1
_WEIGHT = 0.2  # of the newest value in the moving average
_ROUNDING = 1e-6  # what sums of fractions may be off by

_COLUMNS = (
    'id, name, "limit", active, slot_decay_per_second, avg_slot_occupancy_seconds,'
    " decaying_slots, decaying_since"
)
_FIND = f"SELECT {_COLUMNS} FROM concurrency_limits WHERE name IN ({{}}) ORDER BY name"  # noqa: S608 - constants
# So that nobody else takes or gives back slots of these limits meanwhile.
_LOCK = " /*postgres: FOR UPDATE */"
_FIND_ALL = f"SELECT {_COLUMNS} FROM concurrency_limits ORDER BY name"  # noqa: S608
_ADD = (
    'INSERT INTO concurrency_limits (id, name, "limit", active, slot_decay_per_second, decaying_slots,'
    " decaying_since, created, updated) VALUES (:id, :name, :limit, :active, :decay, 0, :now, :now, :now)"
    " ON CONFLICT (name) DO "
)
_WRITE = (
    f"{_ADD}UPDATE SET"
    ' "limit" = :limit, active = :active, slot_decay_per_second = :decay,'
    " decaying_slots = :decaying, decaying_since = :now, updated = :now"
)

_CHANGE = (
    'UPDATE concurrency_limits SET name = ?, "limit" = ?, active = ?, slot_decay_per_second = ?,'
    " decaying_slots = ?, decaying_since = ?, updated = ? WHERE id = ?"
)
_HELD_BY = (
    "SELECT id, slots FROM slots WHERE limit_id = ? AND acquired IS NOT NULL AND holder_type = ? ORDER BY id"
)

# What is held of some limits, and what is waited for before the first place of a lease, with that place.
_USAGE = (
    "SELECT l.name, (SELECT min(id) FROM slots WHERE lease_id = ?),"
    " CAST(coalesce(sum(CASE WHEN s.acquired IS NOT NULL THEN s.slots END), 0) AS BIGINT),"
    " CAST(coalesce(sum(CASE WHEN s.acquired IS NULL AND s.id < coalesce("
    "(SELECT min(id) FROM slots WHERE lease_id = ?), ?) THEN s.slots END), 0) AS BIGINT)"
    " FROM concurrency_limits AS l JOIN slots AS s ON s.limit_id = l.id WHERE {}{} GROUP BY l.name"
)
_ALIVE = " AND s.lease_expires > ?"
_DROP_EXPIRED = "DELETE FROM slots WHERE limit_id = ? AND lease_expires <= ?"
_PLACE = "SELECT min(id) FROM slots WHERE lease_id = ?"
_INSERT = (
    "INSERT INTO slots (lease_id, limit_id, slots, holder_type, holder_id, requested, acquired,"
    " lease_expires, owner_id) VALUES (?,?,?,?,?,?,?,?,?)"
)
_KEEP_PLACE = "UPDATE slots SET lease_expires = ? WHERE lease_id = ?"
_DROP = "DELETE FROM slots WHERE lease_id = ?"
_CONCERNED = (
    f"SELECT s.slots, s.acquired, {', '.join('l.' + name for name in _COLUMNS.split(', '))}"  # noqa: S608 - constants
    " FROM slots AS s JOIN concurrency_limits AS l ON l.id = s.limit_id WHERE s.lease_id = ? ORDER BY l.name"
    " /*postgres: FOR UPDATE OF l */"
)
_NEXT = (
    "SELECT o.key FROM slots AS s JOIN owners AS o ON o.id = s.owner_id"
    " WHERE s.limit_id = ? AND s.acquired IS NULL ORDER BY s.id LIMIT 1"
)
_NEXT_OF_LEASE = (
    "SELECT l.name, o.key FROM slots AS s JOIN owners AS o ON o.id = s.owner_id"
    " JOIN concurrency_limits AS l ON l.id = s.limit_id WHERE s.id IN (SELECT min(w.id) FROM slots AS w"
    " WHERE w.acquired IS NULL AND w.lease_id <> ? AND w.limit_id IN"
    " (SELECT limit_id FROM slots WHERE lease_id = ?) GROUP BY w.limit_id)"
)
_RIVALS = (
    "SELECT DISTINCT o.pid FROM slots AS s JOIN owners AS o ON o.id = s.owner_id"
    " JOIN concurrency_limits AS l ON l.id = s.limit_id"
    " WHERE o.host = ? AND o.boot = ? AND o.ended IS NULL AND l.name IN ({})"
)
_HOLDERS = (
    "SELECT s.slots, s.requested, s.acquired, s.lease_expires, s.holder_type, s.holder_id,"
    " coalesce(t.name, f.name), o.host, o.pid FROM concurrency_limits AS l JOIN slots AS s ON s.limit_id = l.id"
    " LEFT JOIN owners AS o ON o.id = s.owner_id LEFT JOIN task_runs AS t ON t.id = s.holder_id"
    " LEFT JOIN flow_runs AS f ON f.id = s.holder_id WHERE l.name = ? AND s.lease_expires > ? ORDER BY s.id"
)
_NOTHING: tuple[str, Any] = ("SELECT 1 WHERE 1 = 0", ())
_LAST = 2**62  # the place of a request that is not in the queue: behind everybody


class _Limit(NamedTuple):
    """A row of ``concurrency_limits``."""

    key: bytes
    name: str
    limit: int
    active: int
    decay: float
    occupancy: float | None
    decaying: float
    since: int

    def left(self, now: int) -> float:
        """How many slots have not decayed yet, with the fraction of the next one."""
        return max(0.0, self.decaying - self.decay * max(0, now - self.since) / 1e6)

    def taken(self, usage: _Usage, now: int) -> int:
        """The slots that a request cannot have, given what others have, or wait for before it.

        Slots of a limit with decay belong to nobody, so of its rows only those count that wait.
        """
        held, first = usage.of_name.get(self.name, (0, 0))
        return first + math.ceil(self.left(now) - _ROUNDING) if self.decay else held + first

    def counts(self, usage: _Usage, now: int) -> tuple[int, int]:
        """How many slots are taken, and how many are waited for."""
        held, waiting = usage.of_name.get(self.name, (0, 0))
        return (math.ceil(self.left(now) - _ROUNDING) if self.decay else held), waiting

    def record(self, active_slots: int = 0, denied_slots: int = 0) -> ConcurrencyLimit:
        """The limit as it is shown."""
        return asked.ConcurrencyLimit(
            id=UUID(bytes=self.key),
            name=self.name,
            limit=self.limit,
            active=bool(self.active),
            active_slots=active_slots,
            denied_slots=denied_slots,
            slot_decay_per_second=self.decay,
            avg_slot_occupancy_seconds=self.occupancy or MINIMUM_OCCUPANCY_SECONDS,
        )


class _Usage(NamedTuple):
    """How much of some limits is held, and waited for before a place in the queue; and that place."""

    of_name: dict[str, tuple[int, int]]
    place: int

    @classmethod
    def of(cls, rows: list[Any]) -> _Usage:
        """What the rows of `_USAGE` say."""
        places = [place for _, place, _, _ in rows if place is not None]
        return cls({name: (held, first) for name, _, held, first in rows}, places[0] if places else _LAST)


def _usage_of(names: Sequence[str], lease_key: bytes, now: int | None = None) -> tuple[str, Any]:
    """The question about the usage of limits; with a time, of what is alive then."""
    where = f"l.name IN ({','.join('?' * len(names)) or 'NULL'})"
    values = (lease_key, lease_key, _LAST, *names)
    return (
        _USAGE.format(where, "" if now is None else _ALIVE),
        values if now is None else (*values, now),
    )


def write_limit(
    db: Cursor, owner: int | None, name: str, limit: int, active: bool, decay: float, now: int
) -> ConcurrencyLimit:
    """See `LimitStore.write_limit`."""
    known = _find(db, [name], _LOCK)
    values = {
        "id": new_id(),
        "name": name,
        "limit": limit,
        "active": int(active),
        "decay": float(decay),
        # What was taken decays at the new pace from now on.
        "decaying": known[0].left(now) if known and decay else 0.0,
        "now": now,
    }
    db.execute(_WRITE, values)
    return read_limits(db, [name], now)[0]


def add_limit(
    db: Cursor, owner: int | None, name: str, limit: int, active: bool, decay: float, now: int
) -> ConcurrencyLimit | None:
    """See `LimitStore.add_limit`."""
    values = {
        "id": new_id(),
        "name": name,
        "limit": limit,
        "active": int(active),
        "decay": float(decay),
        "now": now,
    }
    is_new = db.execute(f"{_ADD}NOTHING", values).rowcount == 1
    return read_limits(db, [name], now)[0] if is_new else None


def change_limit(
    db: Cursor, owner: int | None, name: str, change: LimitChange, now: int
) -> ConcurrencyLimit | None:
    """See `LimitStore.change_limit`."""
    known = _find(db, [name], _LOCK)
    if not known:
        return None
    (before,) = known
    new_name = before.name if change.name is None else change.name
    if new_name != name and _find(db, [new_name]):
        raise ObjectAlreadyExists(f"There is a concurrency limit named {new_name!r} already.")
    decay = before.decay if change.slot_decay_per_second is None else float(change.slot_decay_per_second)
    after = before._replace(
        name=new_name,
        limit=before.limit if change.limit is None else change.limit,
        active=before.active if change.active is None else int(change.active),
        decay=decay,
        decaying=before.left(now) if decay else 0.0,
        since=now,
    )
    row = after.name, after.limit, after.active, after.decay, after.decaying, after.since, now, after.key
    db.execute(_CHANGE, row)
    if change.holders is not None:
        _override(db, after, change, now)
    return read_limits(db, [new_name], now)[0]


def _override(db: Cursor, limit: _Limit, change: LimitChange, now: int) -> None:
    """Let others hold the slots of a limit than those who do; who waits goes on to."""
    holders = change.holders or ()
    db.execute("DELETE FROM slots WHERE limit_id = ? AND acquired IS NOT NULL", (limit.key,))
    if limit.decay:
        _set_decaying(db, limit, float(sum(slots for slots, _ in holders)), now)
    until = now + change.lease_microseconds
    for slots, holder in holders:
        request = asked.SlotRequest(new_id(), [limit.name], slots, 0, holder)
        _insert(db, None, request, limit, now, now, until)


def read_limits(db: Cursor, names: Sequence[str] | None, now: int) -> list[ConcurrencyLimit]:
    """See `LimitStore.read_limits`."""
    rows = db.execute(_FIND_ALL).fetchall() if names is None else db.execute(*_limits_of(names)).fetchall()
    found = [_Limit(*row) for row in rows]
    usage = _Usage.of(db.execute(*_usage_of([limit.name for limit in found], b"", now)).fetchall())
    return [limit.record(*limit.counts(usage, now)) for limit in found]


def read_holders(db: Cursor, name: str, now: int) -> list[SlotHolder]:
    """See `LimitStore.read_slot_holders`."""
    found = [_holder(*row) for row in db.execute(_HOLDERS, (name, now)).fetchall()]
    return sorted(found, key=lambda holder: holder.acquired is None)


def _holder(
    slots: int,
    requested: int,
    acquired: int | None,
    expires: int,
    kind: str | None,
    key: bytes | None,
    run_name: str | None,
    host: str | None,
    pid: int | None,
) -> SlotHolder:
    return asked.SlotHolder(
        slots=slots,
        requested=requested,
        acquired=acquired,
        lease_expires=expires,
        holder_type=kind,
        holder_id=None if key is None else UUID(bytes=key),
        run_name=run_name,
        host=host,
        pid=pid,
    )


def delete_limit(db: Cursor, owner: int | None, name: str) -> bool:
    """See `LimitStore.delete_limit`."""
    for limit in _find(db, [name], _LOCK):
        db.execute("DELETE FROM slots WHERE limit_id = ?", (limit.key,))
        db.execute("DELETE FROM concurrency_limits WHERE id = ?", (limit.key,))
        return True
    return False


def take(db: Cursor, owner: int | None, request: SlotRequest, now: int, wait_until: int | None) -> SlotAnswer:
    """See `LimitStore.take_slots`."""
    names, key = request.names, request.lease_key
    found, rows, following = ask(
        db,
        _limits_of(names, _LOCK),
        _usage_of(names, key),  # by now nobody else can change it
        (_NEXT_OF_LEASE, (key, key)) if request.is_queued else _NOTHING,
    )
    limits, answer = _look_up(found, request)
    if answer.refusal is None:
        usage = _Usage.of(rows)
        if _too_much(limits, request, usage, now) is not None and _drop_expired(db, limits, now):
            usage = _Usage.of(db.execute(*_usage_of(names, key)).fetchall())
        full = _too_much(limits, request, usage, now)
        if full is None:
            _grant(db, owner, request, limits, usage.place, now)
            answer.granted = True
            answer.next_waiters = dict(following)  # there may be room for more than one
            return answer
        answer.retry_after = _retry_after(full, request, full.taken(usage, now), now)
        if wait_until is not None:
            _keep_place(db, owner, request, limits, usage.place, now, wait_until)
            answer.place = _place(db, request) if usage.place == _LAST else usage.place
            request.is_queued = True
            return answer
    db.execute(_DROP, (key,))
    return answer


def may_take(db: Cursor, request: SlotRequest, now: int) -> bool:
    """See `LimitStore.may_take_slots`."""
    found, rows = ask(db, _limits_of(request.names), _usage_of(request.names, request.lease_key, now))
    limits, answer = _look_up(found, request)
    return answer.refusal is not None or _too_much(limits, request, _Usage.of(rows), now) is None


def _too_much(limits: Sequence[_Limit], request: SlotRequest, usage: _Usage, now: int) -> _Limit | None:
    """The first limit that has no room for a request."""
    for limit in limits:
        if limit.taken(usage, now) + request.slots > limit.limit:
            return limit
    return None


def _drop_expired(db: Cursor, limits: Sequence[_Limit], now: int) -> bool:
    """Make room of what nobody holds any more; False if there is none."""
    return sum(db.execute(_DROP_EXPIRED, (limit.key, now)).rowcount for limit in limits) > 0


def renew(db: Cursor, owner: int | None, leases: Sequence[tuple[bytes, int]]) -> set[bytes]:
    """See `LimitStore.renew_slots`."""
    return {key for key, until in leases if not db.execute(_KEEP_PLACE, (until, key)).rowcount}


def release(
    db: Cursor, owner: int | None, lease_key: bytes, now: int, occupancy_seconds: float | None
) -> tuple[bool, dict[str, str]]:
    """See `LimitStore.release_slots`. Also the owners whose turn it may be, by the names of the limits."""
    rows, following = ask(db, (_CONCERNED, (lease_key,)), (_NEXT_OF_LEASE, (lease_key, lease_key)))
    db.execute(_DROP, (lease_key,))
    for slots, acquired, *columns in rows:
        if acquired is not None:
            held = (now - acquired) / 1e6 if occupancy_seconds is None else occupancy_seconds
            _note_released(db, _Limit(*columns), slots, now, held)
    return bool(rows), dict(following)


def release_some(
    db: Cursor,
    owner: int | None,
    names: Sequence[str],
    slots: int,
    holder_type: str,
    now: int,
    occupancy_seconds: float,
) -> tuple[list[ConcurrencyLimit], dict[str, str]]:
    """See `LimitStore.release_some_slots`. Also the owners whose turn it may be, by the names of the limits."""
    limits = _find(db, names, _LOCK)
    for limit in limits:
        left = slots
        for row_id, held in db.execute(_HELD_BY, (limit.key, holder_type)).fetchall():
            if left >= held:
                db.execute("DELETE FROM slots WHERE id = ?", (row_id,))
            elif left:
                db.execute("UPDATE slots SET slots = slots - ? WHERE id = ?", (left, row_id))
            left -= min(left, held)
        if left < slots:
            _note_released(db, limit, slots - left, now, occupancy_seconds)
    return read_limits(db, names, now), _next_waiters(db, limits)


def _note_released(db: Cursor, limit: _Limit, slots: int, now: int, occupancy_seconds: float) -> None:
    """Keep the average of a limit, and give back what decays."""
    before = occupancy_seconds if limit.occupancy is None else limit.occupancy
    average = max(MINIMUM_OCCUPANCY_SECONDS, before + _WEIGHT * (occupancy_seconds - before))
    db.execute(
        "UPDATE concurrency_limits SET avg_slot_occupancy_seconds = ? WHERE id = ?", (average, limit.key)
    )
    if limit.decay:
        _set_decaying(db, limit, max(0.0, limit.left(now) - slots), now)


def _next_waiters(db: Cursor, limits: Sequence[_Limit]) -> dict[str, str]:
    """The keys of the owners that are first in the queues of some limits, by the names of the limits."""
    found = ((limit.name, db.execute(_NEXT, (limit.key,)).fetchone()) for limit in limits)
    return {name: row[0] for name, row in found if row is not None}


def rivals(db: Cursor, names: Sequence[str], host: str, boot: str) -> list[int]:
    """See `LimitStore.read_rivals`."""
    query = _RIVALS.format(",".join("?" * len(names)))
    return [pid for (pid,) in db.execute(query, (host, boot, *names)).fetchall()]


def _limits_of(names: Sequence[str], lock: str = "") -> tuple[str, Any]:
    """The question for limits by name."""
    return _FIND.format(",".join("?" * len(names)) or "NULL") + lock, tuple(names)


def _find(db: Cursor, names: Sequence[str], lock: str = "") -> list[_Limit]:
    return [_Limit(*row) for row in db.execute(*_limits_of(names, lock)).fetchall()] if names else []


def _look_up(rows: list[Any], request: SlotRequest) -> tuple[list[_Limit], SlotAnswer]:
    """The active limits of a request, and an answer that says so far only whether there is hope."""
    found = [_Limit(*row) for row in rows]
    names = {limit.name for limit in found}
    missing = [name for name in request.names if name not in names]
    limits = [limit for limit in found if limit.active]
    answer = asked.SlotAnswer([limit.record() for limit in limits], missing)
    if missing and request.strict:
        answer.refusal = f"there is no limit named {', '.join(map(repr, missing))}, and strict was asked for"
    for limit in limits:
        if request.decays and not limit.decay:
            answer.refusal = (
                f"{limit.name!r} has no slot decay, and only limits with slot decay can be rate limits"
            )
        elif request.slots > limit.limit:
            answer.refusal = (
                f"{limit.name!r} has {limit.limit} slot(s), fewer than the {request.slots} asked for"
            )
    return limits, answer


def _place(db: Cursor, request: SlotRequest) -> int:
    (place,) = db.execute(_PLACE, (request.lease_key,)).fetchone()
    return _LAST if place is None else int(place)


def _grant(
    db: Cursor, owner: int | None, request: SlotRequest, limits: list[_Limit], place: int, now: int
) -> None:
    if place != _LAST:
        db.execute(_DROP, (request.lease_key,))
    for limit in limits:
        if limit.decay:
            _set_decaying(db, limit, limit.left(now) + request.slots, now)
        if not request.decays:
            _insert(db, owner, request, limit, now, now, now + request.lease_microseconds)


def _keep_place(
    db: Cursor,
    owner: int | None,
    request: SlotRequest,
    limits: list[_Limit],
    place: int,
    now: int,
    until: int,
) -> None:
    """Put a request into the queue, or keep it there; a limit may be new since it was put there."""
    queued: set[bytes] = set()
    if place != _LAST:
        db.execute(_KEEP_PLACE, (until, request.lease_key))
        rows = db.execute("SELECT limit_id FROM slots WHERE lease_id = ?", (request.lease_key,))
        queued = {key for (key,) in rows.fetchall()}
    for limit in limits:
        if limit.key not in queued:
            _insert(db, owner, request, limit, now, None, until)


def _insert(
    db: Cursor,
    owner: int | None,
    request: SlotRequest,
    limit: _Limit,
    now: int,
    acquired: int | None,
    until: int,
) -> None:
    kind, key = request.holder or (None, None)
    owner = owner if request.owned else None
    row = (request.lease_key, limit.key, request.slots, kind, key, now, acquired, until, owner)
    db.execute(_INSERT, row)


def _retry_after(limit: _Limit, request: SlotRequest, taken: int, now: int) -> float | None:
    """Seconds until enough will have decayed, those who came before included."""
    if not limit.decay:
        return None
    left = limit.left(now)
    before_us = taken - math.ceil(left - _ROUNDING)
    return max(0.0, (left - (limit.limit - request.slots - before_us)) / limit.decay)


def _set_decaying(db: Cursor, limit: _Limit, slots: float, now: int) -> None:
    db.execute(
        "UPDATE concurrency_limits SET decaying_slots = ?, decaying_since = ? WHERE id = ?",
        (slots, now, limit.key),
    )
