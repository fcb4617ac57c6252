"""What the service's processes log: a line for each event, its own and those of uvicorn and Celery alike."""

import logging
import sys
from typing import Literal

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.types import Processor

LogFormat = Literal["text", "json"]
_OF_UVICORN = ("uvicorn", "uvicorn.access", "uvicorn.error")


def configure(form: LogFormat, level: int | str = logging.INFO) -> None:
    """Log to the standard error in one form, with what `structlog.contextvars` has bound on each line.

    Args:
        form: `text` for people, `json` for programs: one object a line.
        level: the least severe that is logged.
    """
    of_every_line: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=str)]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=False)]
    )
    structlog.configure(
        processors=[*of_every_line, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=of_every_line,
            processors=[ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _OF_UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
