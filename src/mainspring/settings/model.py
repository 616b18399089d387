"""All settings as one object, which knows which of its values were set, and by whom."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import msgspec

from mainspring.exceptions import ConfigurationError
from mainspring.settings.groups import (
    HOME,
    EventSettings,
    FlowSettings,
    LoggingSettings,
    ResultSettings,
    TaskSettings,
)
from mainspring.settings.secrets import secrets_of, without_secrets
from mainspring.settings.values import (
    convert,
    nest,
    setting_kinds,
    suggestion,
    to_plain,
    to_text,
    variable_of,
)

__all__ = ["CODE", "DEFAULT", "Durability", "Given", "Settings", "Source", "build_settings", "kind_of"]

Durability = Literal["process", "disk", "relaxed", "journal"]

LONGEST_LEASE_SECONDS = 1_000_000_000
"""Some thirty years, which any clock can add to now."""


class Source(NamedTuple):
    """Where the value of a setting comes from.

    Args:
        kind: ``default``; ``file``; ``environment``; ``code``, that is a block of `temporary_settings`, or
            `Settings` made by hand; or ``process``, from the one that has started this one.
        place: The path of the file, or the name of the environment variable.
        line: The line of the file.
    """

    kind: Literal["default", "file", "environment", "code", "process"]
    place: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        if self.place is None:
            return self.kind
        return self.place if self.line is None else f"{self.place}, line {self.line}"

    def sentence(self) -> str:
        """Who has set it, for the end of a message, with a space before it; empty if the reader has just done it."""
        if self.kind == "environment":
            return f" It is set by the environment variable {self.place}."
        return f" It is set in {self}." if self.kind == "file" else ""


DEFAULT = Source("default")
CODE = Source("code")


class Given(NamedTuple):
    """A value that was set.

    Args:
        value: It, converted, but with `HOME` and ``~`` as they were written.
        source: Where it comes from.
    """

    value: Any
    source: Source


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """All settings. Immutable, and safe to share between threads. Two are equal if all their values are.

    Args:
        home: The folder for everything mainspring keeps.
        database_url: Where the run store is; a file in ``home`` when unset.
        durability: What the end of a task survives: the death of the process (``process``), a power cut (``disk``), or
            neither for some milliseconds (``relaxed``). With ``journal`` it survives the death of the process, and
            others see it some milliseconds later.
        host_id: What tells this host from others that share the run store; its name when unset. Processes with the same
            id see each other's deaths by a lock, others by a lease.
        lease_seconds: For how long others wait for a sign of life of a process on another host, at least 1.
        debug_mode: Log states in full, and all lines: ``logging.level`` is DEBUG then, whatever it is set to.
        tasks: Defaults for tasks.
        flows: Defaults for flows.
        results: How results are kept.
        events: Which events are kept, and how large they may be.
        logging: What is logged.
    """

    home: Path = Path("~/.mainspring")
    database_url: str | None = None
    durability: Durability = "process"
    host_id: str | None = None
    lease_seconds: float = 30.0
    debug_mode: bool = False
    tasks: TaskSettings = TaskSettings()
    flows: FlowSettings = FlowSettings()
    results: ResultSettings = ResultSettings()
    events: EventSettings = EventSettings()
    logging: LoggingSettings = LoggingSettings()

    def __post_init__(self) -> None:
        # Before anything is replaced: `build_settings` knows better, others mean what they have passed.
        vars(self)["_given"] = _code(self)
        if self.database_url is not None and not self.database_url.strip():
            raise ConfigurationError(
                "database_url must not be empty. Leave it unset, and runs are kept in the home folder."
            )
        if self.host_id is not None and not self.host_id.strip():
            raise ConfigurationError(
                "host_id must not be empty. Leave it unset, and the name of this host is used."
            )
        if not (math.isfinite(self.lease_seconds) and 1 <= self.lease_seconds <= LONGEST_LEASE_SECONDS):
            raise ConfigurationError(
                f"lease_seconds must be at least 1 and at most {LONGEST_LEASE_SECONDS:,}; got {self.lease_seconds:g}."
            )
        if HOME in str(self.home):
            raise ConfigurationError(f"home cannot be {str(self.home)!r}: {HOME} stands for itself.")
        replace = msgspec.structs.force_setattr
        replace(self, "home", _expanded("home", self.home))
        home = str(self.home)
        if self.database_url is not None:
            replace(self, "database_url", self.database_url.replace(HOME, home))
        results, logs = self.results, self.logging
        storage = results.default_storage
        replace(
            self,
            "results",
            _remade(
                results,
                local_storage_path=_placed("results.local_storage_path", results.local_storage_path, home),
                default_storage=None if storage is None else storage.replace(HOME, home),
            ),
        )
        changes: dict[str, Any] = {"level": "DEBUG"} if self.debug_mode else {}
        if logs.config_path is not None:
            changes["config_path"] = _placed("logging.config_path", logs.config_path, home)
        if changes:
            replace(self, "logging", _remade(logs, **changes))

    def __hash__(self) -> int:  # as a whole it may hold lists, which have no hash
        return hash((self.home, self.database_url, self.durability, self.debug_mode))

    def __repr__(self) -> str:
        return secrets_of(self).mask(super().__repr__())

    def __copy__(self) -> Settings:
        return self

    def __reduce__(self) -> tuple[Any, ...]:  # copies and pickles know what was set, too
        return build_settings, (self._given,)

    # What is derived

    @property
    def run_store_url(self) -> str:
        """The address of the run store: ``database_url``, or the file ``mainspring.db`` in ``home``."""
        if self.database_url is not None:
            return self.database_url
        return f"sqlite:///{(self.home / 'mainspring.db').absolute()}"

    @property
    def local_storage_path(self) -> Path:
        """The folder for large results: ``results.local_storage_path``."""
        return self.results.local_storage_path

    # Names

    def value_of(self, name: str) -> Any:
        """The value of the setting with a dotted name, for example ``"tasks.default_retries"``.

        Raises:
            ConfigurationError: There is no such setting.
        """
        kind_of(name)
        value: Any = self
        for part in name.split("."):
            value = getattr(value, part)
        return value

    def source_of(self, name: str) -> Source:
        """Where the value of the setting with a dotted name comes from.

        Raises:
            ConfigurationError: There is no such setting.
        """
        kind_of(name)
        given = self._given.get(name)
        return DEFAULT if given is None else given.source

    def given(self) -> dict[str, Given]:
        """What was set, by dotted name: the values as they were given, and where they come from. A new dict.

        Of settings that were made by calling the class, these are the values that differ from the defaults.
        """
        return dict(self._given)

    @property
    def _given(self) -> Mapping[str, Given]:
        if "_given" not in vars(self):  # made by `msgspec.structs.replace`, which calls nothing of ours
            vars(self)["_given"] = _code(self)
        return cast("Mapping[str, Given]", vars(self)["_given"])

    # Copies

    def copy_with_update(
        self,
        updates: Mapping[str, Any] | None = None,
        set_defaults: Mapping[str, Any] | None = None,
        restore_defaults: Iterable[str] | None = None,
    ) -> Settings:
        """A copy with other values; what is not set stays so.

        Args:
            updates: Values by dotted name, for example ``{"tasks.default_retries": 2}``.
            set_defaults: The same, for those settings only that nobody has set.
            restore_defaults: The dotted names of settings that are to have their default, whoever has set them.

        Raises:
            ConfigurationError: There is no such setting, or a value does not fit.
        """
        given = dict(self._given)
        for name in [restore_defaults] if isinstance(restore_defaults, str) else restore_defaults or ():
            kind_of(name)
            given.pop(name, None)
        for name, value in (set_defaults or {}).items():
            converted = Given(convert(name, value, kind_of(name)), CODE)
            given.setdefault(name, converted)
        for name, value in (updates or {}).items():
            given[name] = Given(convert(name, value, kind_of(name)), CODE)
        return build_settings(given)

    def with_obfuscated_secrets(self) -> Settings:
        """A copy for display: the passwords in addresses are masked."""
        if not secrets_of(self):
            return self
        given = {name: value._replace(value=self.value_of(name)) for name, value in self._given.items()}
        masked = without_secrets(self, {name: each.value for name, each in given.items()})
        return build_settings({name: each._replace(value=masked[name]) for name, each in given.items()})

    # Other forms

    def to_environment_variables(
        self, include: Iterable[str] | None = None, exclude_unset: bool = False
    ) -> dict[str, str]:
        """Environment variables that give these settings again. Secrets are included.

        Args:
            include: The dotted names of those to give; all when omitted.
            exclude_unset: Leave out what nobody has set.

        Returns:
            Texts by the names of variables. A setting that is None has no variable.

        Raises:
            ConfigurationError: There is no such setting.
        """
        variables: dict[str, str] = {}
        for name in setting_kinds(Settings) if include is None else include:
            value = self.value_of(name)
            if value is not None and not (exclude_unset and name not in self._given):
                variables[variable_of(name)] = to_text(value)
        return variables

    def hash_key(self) -> str:
        """A text that is the same for equal settings, in every process, and otherwise another one."""
        import hashlib  # on use: OpenSSL takes milliseconds to load

        return hashlib.sha256(msgspec.json.encode(to_plain(self)), usedforsecurity=False).hexdigest()


def kind_of(name: str) -> Any:
    """The type of the setting with a dotted name.

    Raises:
        ConfigurationError: There is no such setting; the message says which one was probably meant.
    """
    kinds = setting_kinds(Settings)
    if name not in kinds:
        members = [each for each in kinds if each.startswith(f"{name}.")]
        if members:
            raise ConfigurationError(
                f"{name!r} is a group of settings. Name one in it: {', '.join(members)}."
            )
        meant = suggestion(name, kinds) or f" Settings are: {', '.join(sorted(kinds))}."
        raise ConfigurationError(f"There is no setting {name!r}.{meant}")
    return kinds[name]


def build_settings(given: Mapping[str, Given]) -> Settings:
    """Settings from values that were set and have been converted.

    Raises:
        ConfigurationError: A value cannot work; the message says who has set it.
    """
    try:
        settings: Settings = _made(Settings, nest({name: each.value for name, each in given.items()}))
    except ConfigurationError:
        for name, each in given.items():
            try:
                _made(Settings, nest({name: each.value}))
            except ConfigurationError as error:
                raise ConfigurationError(f"{error}{each.source.sentence()}") from None
        raise
    vars(settings)["_given"] = dict(given)
    return settings


def _made(model: Any, tree: Mapping[str, Any]) -> Any:
    """A model with other values than its defaults: made by the constructor, which checks them."""
    values = dict(tree)
    for name, default in zip(model.__struct_fields__, model.__struct_defaults__, strict=True):
        if isinstance(default, msgspec.Struct) and name in values:
            values[name] = _made(type(default), values[name])
    return model(**values)


def _remade(group: Any, **changes: Any) -> Any:
    return type(group)(**{**msgspec.structs.asdict(group), **changes})


def _code(settings: Settings) -> Mapping[str, Given]:
    """What whoever called the class has probably passed."""
    return {name: Given(value, CODE) for name, value in _differing(settings)}


def _differing(model: msgspec.Struct, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values that are not the default, by dotted name."""
    for name, default in zip(model.__struct_fields__, model.__struct_defaults__, strict=True):
        value = getattr(model, name)
        if isinstance(value, msgspec.Struct):
            yield from _differing(value, f"{prefix}{name}.")
        elif value != default:
            yield prefix + name, value


def _placed(name: str, path: Path, home: str) -> Path:
    text = str(path)
    return Path(text.replace(HOME, home)) if HOME in text else _expanded(name, path)


def _expanded(name: str, path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigurationError(
            f"{name} cannot be {str(path)!r}: the home directory that '~' stands for is not known."
        ) from None
