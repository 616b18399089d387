"""Settings: one typed, nested, immutable object.

``get_current_settings().tasks.default_retries`` reads one; the environment variable
``MAINSPRING_TASKS_DEFAULT_RETRIES`` sets it, and so does ``default_retries = 2`` below ``[tasks]`` in
``mainspring.toml``;
``temporary_settings({"tasks.default_retries": 2})`` overrides it within a block.

``groups``     the settings there are, in groups: their types, defaults and limits
``model``      all of them as one object, which knows what was set, and by whom
``values``     names and values as texts and back
``sources``    reading them: environment variables, files, which of them wins
``files``      settings files: which there are, and what they say
``documents``  TOML as people write it: lines, and changes that leave the rest alone
``secrets``    passwords in settings, and texts without them
``current``    which settings hold where
"""

from mainspring.settings.current import (
    SettingsContext,
    get_current_settings,
    get_settings_context,
    reload_settings,
    temporary_settings,
)
from mainspring.settings.groups import (
    EventSettings,
    FlowSettings,
    LoggingSettings,
    ResultSettings,
    StoredLogSettings,
    TaskRunnerSettings,
    TaskSettings,
)
from mainspring.settings.model import Given, Settings, Source
from mainspring.settings.sources import get_default_settings, get_settings_from_env

__all__ = [
    "EventSettings",
    "FlowSettings",
    "Given",
    "LoggingSettings",
    "ResultSettings",
    "Settings",
    "SettingsContext",
    "Source",
    "StoredLogSettings",
    "TaskRunnerSettings",
    "TaskSettings",
    "get_current_settings",
    "get_default_settings",
    "get_settings_context",
    "get_settings_from_env",
    "reload_settings",
    "temporary_settings",
]
