"""Settings: one typed, nested, immutable object.

``get_current_settings().tasks.default_retries`` reads one; the environment variable
``MAINSPRING_TASKS_DEFAULT_RETRIES`` sets it; ``temporary_settings({"tasks.default_retries": 2})`` overrides it within a
block.

``model``    the settings there are, their types and defaults
``sources``  reading them from environment variables, and making them plain data and back
``secrets``  passwords in settings, and texts without them
``current``  which settings hold where
"""

from mainspring.settings.current import (
    SettingsContext,
    get_current_settings,
    get_settings_context,
    reload_settings,
    temporary_settings,
)
from mainspring.settings.model import (
    EventSettings,
    FlowSettings,
    LoggingSettings,
    ResultSettings,
    Settings,
    StoredLogSettings,
    TaskRunnerSettings,
    TaskSettings,
)
from mainspring.settings.sources import get_settings_from_env

__all__ = [
    "EventSettings",
    "FlowSettings",
    "LoggingSettings",
    "ResultSettings",
    "Settings",
    "SettingsContext",
    "StoredLogSettings",
    "TaskRunnerSettings",
    "TaskSettings",
    "get_current_settings",
    "get_settings_context",
    "get_settings_from_env",
    "reload_settings",
    "temporary_settings",
]
