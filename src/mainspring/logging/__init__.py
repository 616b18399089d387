"""Logging: loggers that know their run, prints as log lines.

``loggers``   loggers of the package and of runs
``prints``    ``print`` inside a run, as log lines
``console``   lines on the terminal for programs that did not set up logging themselves
``configuration``  Python's logging, set up from a file
``masking``   passwords in settings are kept out of lines
``eavesdropping``  collecting the lines of a block

The package logs through the standard library: loggers are called ``mainspring`` and ``mainspring.<something>``,
those of runs ``mainspring.task_runs`` and ``mainspring.flow_runs``. Handlers and levels are the program's
business; only where there are no handlers at all, lines go to standard error.
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring.logging.configuration import configure_logging, leave_logging
    from mainspring.logging.console import RUN_LOGGERS, TELLS_AGAIN, TELLS_FAILURE, ensure_output
    from mainspring.logging.eavesdropping import LogEavesdropper
    from mainspring.logging.loggers import (
        RunLogger,
        disable_logger,
        disable_run_logger,
        engine_logs,
        flow_run_logger,
        get_logger,
        get_run_logger,
        get_run_logger_or,
        task_run_logger,
    )
    from mainspring.logging.masking import hide_secrets
    from mainspring.logging.prints import LoggedPrints, enter_context, patch_print, should_log_prints

__all__ = [
    "RUN_LOGGERS",
    "TELLS_AGAIN",
    "TELLS_FAILURE",
    "LogEavesdropper",
    "LoggedPrints",
    "RunLogger",
    "configure_logging",
    "disable_logger",
    "disable_run_logger",
    "engine_logs",
    "ensure_output",
    "enter_context",
    "flow_run_logger",
    "get_logger",
    "get_run_logger",
    "get_run_logger_or",
    "hide_secrets",
    "leave_logging",
    "patch_print",
    "should_log_prints",
    "task_run_logger",
]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".configuration": ["configure_logging", "leave_logging"],
        ".console": ["RUN_LOGGERS", "TELLS_AGAIN", "TELLS_FAILURE", "ensure_output"],
        ".eavesdropping": ["LogEavesdropper"],
        ".loggers": [
            "RunLogger",
            "disable_logger",
            "disable_run_logger",
            "engine_logs",
            "flow_run_logger",
            "get_logger",
            "get_run_logger",
            "get_run_logger_or",
            "task_run_logger",
        ],
        ".masking": ["hide_secrets"],
        ".prints": ["LoggedPrints", "enter_context", "patch_print", "should_log_prints"],
    },
)
