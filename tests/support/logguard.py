"""The log guard: a warning or a traceback that nobody announced fails the test that caused it.

A file system has nobody to show an error to; what went wrong shows in the log only, while tests look at
results. So the log is a result too. Announce what must be there with `log_guard.expect("regular
expression")`.
"""

from __future__ import annotations

import logging
import re

_BAD_LINE = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|^Traceback \(most recent call last\)|^Fatal Python error")


class LogGuard:
    """Collects what was announced, and finds what was not."""

    def __init__(self) -> None:
        self._expected: list[re.Pattern[str]] = []

    def expect(self, pattern: str) -> None:
        """Allow log lines in which `pattern` is found."""
        self._expected.append(re.compile(pattern))

    def unexpected_lines(self, log: str) -> list[str]:
        """Lines of a program's log that are warnings or worse, or begin a traceback."""
        return [line for line in log.splitlines() if _BAD_LINE.search(line) and not self._announced(line)]

    def unexpected_records(self, records: list[logging.LogRecord]) -> list[str]:
        """The same for records logged in this process."""
        texts = [record.getMessage() for record in records if record.levelno >= logging.WARNING]
        return [text for text in texts if not self._announced(text)]

    def _announced(self, text: str) -> bool:
        return any(pattern.search(text) for pattern in self._expected)
