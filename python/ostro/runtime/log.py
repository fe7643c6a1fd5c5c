"""Logs are events with fields, one line each: readable on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The request that this task works for, from the API to the host."""


def add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Have every line of a request bear its id."""
    request_id = REQUEST_ID.get()
    if request_id:
        event.setdefault("request_id", request_id)
    return event


def configure_logging(level: str = "info", stream: TextIO = sys.stderr) -> None:
    """Set up structlog for the process. A terminal gets aligned colours, anything else a JSON object a line."""
    renderer: structlog.typing.Processor
    renderer = structlog.dev.ConsoleRenderer() if stream.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
