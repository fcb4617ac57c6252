"""Where a page of jobs ended."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import UUID


class InvalidCursor(ValueError):  # noqa: N818 - says what happened
    """The text is not a cursor that a page handed out."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is not a cursor")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last job of a page; the next page goes on below it."""

    created_at: datetime
    id: UUID

    def encode(self) -> str:
        """Give the text that stands for this cursor in a URL."""
        plain = f"{self.created_at.astimezone(UTC).isoformat()} {self.id}"
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what `encode` wrote, and nothing else.

        Raises:
            InvalidCursor: `encode` never wrote this.
        """
        try:
            padded = text + "=" * (-len(text) % 4)
            created_at, _, job_id = (
                base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(" ")
            )
            cursor = cls(datetime.fromisoformat(created_at), UUID(job_id))
            canonical = cursor.encode()
        except (ValueError, OverflowError):
            raise InvalidCursor(text) from None
        # One spelling per cursor also refuses dates without a zone, and every lenient form the parsers take.
        if canonical != text:
            raise InvalidCursor(text)
        return cursor
