"""A file's content that lies elsewhere, sent on as it comes, whole or the part that is asked for."""

import re
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import Request
from fastapi.responses import StreamingResponse

from registry.reading import Content

_RANGE = re.compile(r"bytes=(?P<first>\d{1,19})?-(?P<last>\d{1,19})?")


class ContentResponse(StreamingResponse):
    """Answers with `size` bytes of `content`, or with one range of them; several ranges are answered by all of it.

    Its ETag is among the `headers`. A range is given only of what `If-Range`, if it was sent, names.
    """

    def __init__(
        self, content: Content, size: int, request: Request, *, media_type: str, headers: Mapping[str, str]
    ) -> None:
        more = {"Accept-Ranges": "bytes"}
        wanted = None
        if request.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            wanted = _wanted(request.headers.get("Range", ""), size)
        if wanted is None:
            start, end, status = 0, size, HTTPStatus.OK
        elif wanted[0] < wanted[1]:
            (start, end), status = wanted, HTTPStatus.PARTIAL_CONTENT
            more["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        else:
            start, end, status = 0, 0, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            more["Content-Range"] = f"bytes */{size}"
        more["Content-Length"] = str(end - start)
        pieces = iter(()) if request.method == "HEAD" else content.read(start, end)
        super().__init__(pieces, status, {**headers, **more}, media_type)


def _wanted(asked: str, size: int) -> tuple[int, int] | None:
    """Give the first byte and the one after the last that a `Range` asks for; None if it has to be ignored."""
    found = _RANGE.fullmatch(asked.strip())
    if found is None or not (found["first"] or found["last"]):
        return None
    if not found["first"]:
        return max(size - int(found["last"]), 0), size
    first = int(found["first"])
    last = min(int(found["last"]), size - 1) if found["last"] else size - 1
    if found["last"] and int(found["last"]) < first:
        return None
    return first, last + 1
