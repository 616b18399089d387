"""From the address of a run store, as in ``MAINSPRING_DATABASE_URL``, to the open store."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from mainspring._imports import load
from mainspring.exceptions import ConfigurationError, StoreDriverMissing

if TYPE_CHECKING:
    from mainspring.store.changes import Durability
    from mainspring.store.describing import DatabaseDescription, Migration, Vacuuming
    from mainspring.store.protocol import RunStore

__all__ = ["describe", "migrate", "open_store", "shown_address", "vacuum"]

# Up to the last @ that can end a login, whatever is before it: who forgets to escape it has still a secret there.
_LOGIN = r"^(?P<scheme>\w+://)(?P<login>[^?]*|.*)@"
_LOGIN_OPTION = r"(?i)(?P<name>[?&](?:ssl)?password=)[^&]*"

_ACCEPTED = (
    "Set MAINSPRING_DATABASE_URL to sqlite:///relative/path.db, sqlite:////absolute/path.db, a plain"
    " path, sqlite:// for a store in memory, or postgresql://user:password@host/database."
)


def open_store(
    url: str | os.PathLike[str],
    durability: Durability = "process",
    create: bool = True,
    host_id: str | None = None,
    lease_seconds: float = 30.0,
    *,
    settles: bool = True,
) -> RunStore:
    """Open the run store at an address, and settle what dead processes left unfinished there.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, the path of a file, ``sqlite://`` for
            one in memory, or ``postgresql://user:password@host:port/database``. A leading ``~`` is the home directory.
        durability: What a commit survives.
        create: Make the database if there is none; with False its absence is an error.
        host_id: What tells this host from others that use the database; its name when omitted.
        lease_seconds: For how long other hosts wait for a sign of life of this process.
        settles: With False, what dead processes left is left as it is.

    Raises:
        ConfigurationError: The address is of no kind that is known.
        StoreError: The store cannot be opened; the message says why and what to do.
    """
    address = os.fspath(url)
    # Backends are loaded on use, or `import mainspring` would pay for a database driver.
    if _is_postgres(address):
        store = cast(
            "RunStore", _postgres().PostgresRunStore(address, durability, create, host_id, lease_seconds)
        )
    else:
        path = _sqlite_path(address)
        backend = load("mainspring.store.sqlite")
        store = cast("RunStore", backend.SQLiteRunStore(path, durability, create, host_id, lease_seconds))
    try:
        if settles:
            store.settle_dead_owners()
            store.catch_up()
    except BaseException:
        store.close()
        raise
    return store


def shown_address(url: str) -> str:
    """The address of a run store without the passwords in it, for messages and logs."""

    def hidden(match: re.Match[str]) -> str:
        user, separator, _ = match["login"].partition(":")
        return f"{match['scheme']}{user}{':***' if separator else ''}@"

    return re.sub(_LOGIN_OPTION, r"\g<name>***", re.sub(_LOGIN, hidden, url, count=1))


def _is_postgres(url: str) -> bool:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgres", "postgresql"):
        return False
    if "+" in scheme:
        raise ConfigurationError(
            f"The address of the run store begins with {scheme + separator!r}: leave out what follows the +, as"
            f" there is no choice of drivers. {_ACCEPTED}"
        )
    if not rest:
        raise ConfigurationError(f"{url!r} names no PostgreSQL database. {_ACCEPTED}")
    return True


def _postgres(name: str = "mainspring.store.postgres") -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        if not (error.name or "").startswith("psycopg") and "psycopg" not in str(error):
            raise
        raise StoreDriverMissing(
            "A run store in PostgreSQL needs psycopg, which is not installed:"
            f" pip install 'mainspring[postgres]'. ({error})"
        ) from error


def describe(url: str | os.PathLike[str]) -> DatabaseDescription:
    """What the database at an address is, whatever its version; nothing is made or changed.

    Raises:
        ConfigurationError: The address is of no kind that is known.
        StoreError: The database cannot be read, or is no run store.
    """
    module, place = _administration(url)
    return cast("DatabaseDescription", module.describe(place))


def migrate(url: str | os.PathLike[str]) -> Migration:
    """Bring the database at an address up to date, or make it. Several processes may do so at once.

    Raises:
        ConfigurationError: The address is of no kind that is known.
        StoreError: The database cannot be written, is no run store, or was written by a newer version.
    """
    module, place = _administration(url)
    return cast("Migration", module.migrate(place))


def vacuum(url: str | os.PathLike[str]) -> Vacuuming:
    """Give the room that deleted rows have left back to the disk. Others may have to wait meanwhile.

    Raises:
        ConfigurationError: The address is of no kind that is known.
        StoreError: The database is not there, or is too busy; nothing was changed.
    """
    module, place = _administration(url)
    return cast("Vacuuming", module.vacuum(place))


def _administration(url: str | os.PathLike[str]) -> tuple[Any, str]:
    """What looks after databases of the kind that an address is of, and what it knows the database by."""
    address = os.fspath(url)
    if _is_postgres(address):
        return _postgres("mainspring.store.postgres.administration"), address
    return import_module("mainspring.store.sqlite.administration"), _sqlite_path(address)


def _sqlite_path(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        path = url
    elif scheme == "sqlite":
        if rest and not rest.startswith("/"):
            raise ConfigurationError(
                f"The address of the run store {url!r} has two slashes where a path needs three. {_ACCEPTED}"
            )
        path = rest[1:] or ":memory:"
    else:  # not shown in full, as it may hold a password
        raise ConfigurationError(
            f"The address of the run store begins with {scheme + separator!r}, which is not"
            f" supported. {_ACCEPTED}"
        )
    if not path or path.startswith("sqlite:") or "\0" in path:
        raise ConfigurationError(f"{url!r} is not the address of a run store. {_ACCEPTED}")
    return path if path == ":memory:" else str(Path(path).expanduser())
