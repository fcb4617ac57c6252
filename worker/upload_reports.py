"""What a child tells of an upload, seldom: each report stays in the database."""

import time

from worker.assignment import UPLOAD
from worker.parent import Parent

EVERY_SECONDS = 2.0
EVERY_SHARE = 0.01


class UploadReports:
    """Tells the supervisor how far an upload is: at most every two seconds, and a hundred times."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._began: int | None = None
        self._started = self._told_at = time.monotonic()
        self._told = 0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began = done
        elif done < total and (
            now - self._told_at < EVERY_SECONDS or done - self._told < EVERY_SHARE * total
        ):
            return
        self._told, self._told_at = done, now
        self._parent.tell(UPLOAD, {"bytes": done, "total": total})
        sent, seconds = done - self._began, now - self._started
        eta = round((total - done) * seconds / sent) if sent > 0 else None
        self._parent.tell("progress", {"fraction": None, "eta_seconds": eta})
