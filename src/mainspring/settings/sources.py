"""Where settings come from, and which source wins.

Highest first: environment variables, ``mainspring.toml`` and ``pyproject.toml`` of the project, the user's own file,
defaults. Above all of them are blocks of `temporary_settings`, see ``current``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mainspring.exceptions import ConfigurationError
from mainspring.settings.files import SettingsFile, find_project_files, read_file, user_file
from mainspring.settings.model import Given, Settings, Source, build_settings, kind_of
from mainspring.settings.values import PREFIX, convert, flatten, nearest, parse, setting_kinds, variable_of

__all__ = [
    "CONFIG_FILE",
    "find_files",
    "find_home",
    "from_plain",
    "get_default_settings",
    "get_settings_from_env",
    "notices",
    "read_settings",
]

CONFIG_FILE = f"{PREFIX}CONFIG_FILE"
"""The variable that names a file to be read instead of those of the project, or ``none`` for no files at all."""

OLD_VARIABLES = {
    f"{PREFIX}TASK_DEFAULT_RETRIES": "tasks.default_retries",
    f"{PREFIX}TASK_DEFAULT_RETRY_DELAY_SECONDS": "tasks.default_retry_delay_seconds",
    f"{PREFIX}FLOW_DEFAULT_RETRIES": "flows.default_retries",
    f"{PREFIX}FLOW_DEFAULT_RETRY_DELAY_SECONDS": "flows.default_retry_delay_seconds",
    f"{PREFIX}LOCAL_STORAGE_PATH": "results.local_storage_path",
}
"""Variables by their names in programs that were written for another version of these settings."""

_NO_SETTINGS = (CONFIG_FILE, f"{PREFIX}_RUNTIME__", f"{PREFIX}INTERNAL_", f"{PREFIX}TEST_")
"""Variables of ours that are no settings: these, and what begins like this."""


def get_default_settings() -> Settings:
    """The settings that hold where nobody has set any."""
    return Settings()


def get_settings_from_env(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that environment variables and defaults give, whatever is in files.

    Args:
        environ: The variables; ``os.environ`` when omitted.

    Raises:
        ConfigurationError: A variable's value does not fit its setting; the message names it.
    """
    return build_settings(_from_environment(os.environ if environ is None else environ))


def read_settings(
    environ: Mapping[str, str] | None = None, folder: Path | None = None, strangers: list[Path] | None = None
) -> Settings:
    """The settings that environment variables, files and defaults give.

    Args:
        environ: The variables; ``os.environ`` when omitted.
        folder: Where to look for the files of the project; the working directory when omitted.
        strangers: See `find_project_files`.

    Raises:
        ConfigurationError: A variable or a file cannot be used; the message names it.
    """
    environ = os.environ if environ is None else environ
    given = _from_environment(environ)
    files = find_files(environ, folder, strangers)
    if files is None:
        return build_settings(given)
    for file in files:
        given = {**read_file(file), **given}
    own = user_file(_home(given))
    if own.path.is_file() and own not in files:
        theirs = read_file(own)
        if "home" in theirs:
            raise ConfigurationError(
                f"home cannot be set in {theirs['home'].source}: that file is found by it."
                f" Set {variable_of('home')}, or put it into the file of a project."
            )
        given = {**theirs, **given}
    return build_settings(given)


def find_files(
    environ: Mapping[str, str], folder: Path | None = None, strangers: list[Path] | None = None
) -> list[SettingsFile] | None:
    """The files of the project, the one that wins first; None if no files are to be read, the user's own neither.

    Raises:
        ConfigurationError: The file that a variable names does not exist, or a file cannot be read.
    """
    named = environ.get(CONFIG_FILE)
    if named is not None:
        if named.strip().lower() in ("", "none"):
            return None
        path = Path(named).expanduser().absolute()
        if not path.exists():
            raise ConfigurationError(
                f"There is no settings file {str(path)!r}. {CONFIG_FILE} names it; 'none' reads no files."
            )
        return [SettingsFile.at(path)]
    try:
        return find_project_files(folder or Path.cwd(), strangers)
    except FileNotFoundError:  # the working directory was removed
        return []


def find_home(environ: Mapping[str, str]) -> Path:
    """The home of mainspring, also where other settings cannot be used."""
    given = _from_environment(environ, only="home")
    for file in [] if given else find_files(environ) or []:
        try:
            given = {**read_file(file), **given}
        except ConfigurationError:  # whoever wants to know is about to repair the settings
            continue
    return _home(given)


def _home(given: Mapping[str, Given]) -> Path:
    return build_settings({"home": given["home"]} if "home" in given else {}).home


def _from_environment(environ: Mapping[str, str], only: str | None = None) -> dict[str, Given]:
    # Most programs have none, and what there is to be looked for need not be worked out then.
    found = {variable: text for variable, text in environ.items() if variable.startswith(PREFIX)}
    given: dict[str, Given] = {}
    if not found:
        return given
    kinds = setting_kinds(Settings)
    names = {**OLD_VARIABLES, **{variable_of(name): name for name in kinds}}  # the newer one wins
    for variable, name in names.items():
        if variable in found and only in (None, name):
            source = Source("environment", variable)
            try:
                value = parse(name, found[variable], kinds[name])
            except ConfigurationError as error:
                raise ConfigurationError(f"{error}{source.sentence()}") from None
            given[name] = Given(value, source)
    return given


def notices(environ: Mapping[str, str]) -> Iterator[tuple[str, type[Warning]]]:
    """What is to be said about variables that have no effect, or are called otherwise now.

    A variable that resembles no setting is taken for somebody else's.
    """
    found = [variable for variable in environ if variable.startswith(PREFIX)]
    if not found:
        return
    kinds = setting_kinds(Settings)
    known = {variable_of(name) for name in kinds}
    for variable in found:
        if variable in known or variable.startswith(_NO_SETTINGS):
            continue
        if variable in OLD_VARIABLES:
            new = variable_of(OLD_VARIABLES[variable])
            ignored = " It has no effect, as that one is set, too." if new in environ else ""
            yield f"{variable} is called {new} now.{ignored}", DeprecationWarning
        elif (meant := nearest(variable, kinds)) is not None:
            yield (
                f"The environment variable {variable} is no setting, and has no effect. Did you mean"
                f" {variable_of(meant)}?",
                UserWarning,
            )


def from_plain(plain: Mapping[str, Any]) -> Settings:
    """The settings that another process has made plain.

    Args:
        plain: A tree of what was set there, see `SettingsContext.serialize`.

    Raises:
        ConfigurationError: Those are no settings of this version.
    """
    source = Source("process")
    try:
        return build_settings(
            {name: Given(convert(name, value, kind_of(name)), source) for name, value in flatten(plain)}
        )
    except ConfigurationError as error:
        raise ConfigurationError(
            f"The settings that another process handed over are no settings of this version of mainspring: {error}"
            f" Is the same version installed there?"
        ) from None
