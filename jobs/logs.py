"""What the service's processes log: a line for each event, its own and those of uvicorn and Celery alike."""

import logging
import sys
from typing import Any, Literal

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.types import Processor

LogFormat = Literal["text", "json"]
_OF_UVICORN = ("uvicorn", "uvicorn.access", "uvicorn.error")


def configure(form: LogFormat, level: int | str = logging.INFO, secret: str | None = None) -> None:
    """Log to the standard error in one form, with what `structlog.contextvars` has bound on each line.

    Args:
        form: `text` for people, `json` for programs: one object a line.
        level: the least severe that is logged.
        secret: what no line may hold, whoever says it back.
    """
    of_every_line: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Neither as they come: both print the variables of every frame, and with them keys, tokens and whole tensors.
    tracebacks = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    rendering: list[Processor] = (
        [tracebacks, structlog.processors.JSONRenderer(default=str)]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    if secret:
        rendering.append(_without(secret))
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


def _without(secret: str) -> Processor:
    def leave_out(_logger: object, _name: str, line: Any) -> str:
        return str(line).replace(secret, "(secret)")

    return leave_out
