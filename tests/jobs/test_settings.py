"""Settings that are checked when a process starts."""

import pytest
from pydantic import ValidationError

from jobs.settings import Settings


def settings(registry_url: str) -> Settings:
    return Settings(database_url="postgresql+psycopg://x", redis_url="redis://x", registry_url=registry_url)


def test_the_address_of_an_object_store() -> None:
    assert settings("s3://bucket/some/prefix/").registry_url == "s3://bucket/some/prefix"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/srv/registry", "not the address of an object store"),
        ("s3:///prefix", "not the address of an object store"),
        ("s3://bucket/prefix?versionId=1", "not the address of an object store"),
        ("file://host/folder", "Leave this unset"),
        ("memory://registry", "Leave this unset"),
        ("s4://bucket", "fsspec knows no s4"),
        # adlfs is in no extra of ours.
        ("abfs://container/prefix", "is not installed"),
        ("s3://key:password@bucket", "must have no account in it"),
    ],
)
def test_what_is_no_address_is_refused_with_a_way_out(url: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        settings(url)
    assert refused.value.errors(include_url=False)[0]["loc"] == ("registry_url",)
