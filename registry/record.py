"""`secateur.json`: all that is known of how a checkpoint came about, beside its weights and enough to do it again."""

from pathlib import Path
from typing import Self

from pydantic import ValidationError

from pruning_core.result import PruneResult
from registry.manifest import ManifestFile, describe_files

RECORD_NAME = "secateur.json"


class RecordError(RuntimeError):
    """A folder without a record that can be read."""


class Record(PruneResult):
    """The result of a pruning, and the files that it wrote.

    `recipe` is the request with its defaults filled in and a Hub revision pinned to its commit; `calibration` and
    `evaluation` have the digests of the texts.
    """

    files: list[ManifestFile]

    @classmethod
    def write(cls, folder: Path, result: PruneResult) -> Self:
        """Digest what is in a checkpoint's folder, and write its record there."""
        record = cls(**dict(result), files=describe_files(folder))
        (folder / RECORD_NAME).write_text(record.model_dump_json(indent=2), encoding="utf-8")
        return record

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the record of a checkpoint.

        Raises:
            RecordError: there is none, or it is broken; with what to do about it.
        """
        path = folder / RECORD_NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError) as missing:
            raise RecordError(
                f"{folder} has no {RECORD_NAME}. Name the folder of a checkpoint that Secateur wrote."
            ) from missing
        except OSError as closed:
            raise RecordError(f"{path} cannot be read ({closed.strerror}).") from closed
        except ValidationError as broken:
            first = broken.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise RecordError(
                f"{path} is broken: {field + ': ' if field else ''}{first['msg']}. Get the checkpoint again from "
                "where it was published; or use the version of Secateur that wrote it."
            ) from broken
