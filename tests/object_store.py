"""A real server of the S3 protocol, moto's, and what tests do to its objects behind the registry's back."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import boto3
import pytest
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"
SECRET = "the-secret-of-the-store"

_numbers = count(1)


class Bucket:
    """A bucket of its own."""

    def __init__(self) -> None:
        self.name = f"bucket-{next(_numbers)}"
        self.url = f"s3://{self.name}/some/prefix"
        self._client = boto3.client("s3")
        self._client.create_bucket(Bucket=self.name)

    def listed(self, below: str = "") -> list[str]:
        """Name what is below the registry's prefix."""
        found = self._client.list_objects_v2(Bucket=self.name, Prefix=f"some/prefix/{below}")
        return [each["Key"].removeprefix("some/prefix/") for each in found.get("Contents", [])]

    def read(self, key: str) -> bytes:
        content: bytes = self._client.get_object(Bucket=self.name, Key=f"some/prefix/{key}")["Body"].read()
        return content

    def write(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=f"some/prefix/{key}", Body=content)

    def remove(self, key: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=f"some/prefix/{key}")

    def make_older(self, by: timedelta, below: str = "") -> None:
        """Let objects have been written earlier, which no client can do."""
        for key in self.listed(below):
            held = s3_backends[ACCOUNT]["aws"].buckets[self.name].keys[f"some/prefix/{key}"]
            held.last_modified -= by

    def written_at(self, key: str) -> float:
        held = s3_backends[ACCOUNT]["aws"].buckets[self.name].keys[f"some/prefix/{key}"]
        return float(held.last_modified.timestamp())


@contextmanager
def running_object_store() -> Iterator[None]:
    """Run the server, with all clients in this process and those it starts told of it by the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield
    server.stop()
