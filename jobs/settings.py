"""What every process of the service reads from its environment."""

from pathlib import Path
from typing import Annotated

from platformdirs import user_data_path
from pydantic import AfterValidator, ByteSize, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from jobs.logs import LogFormat
from jobs.registry_url import parse_registry_url
from pruning_core.model_code import parse_trusted
from pruning_core.recipe import MemoryBudget


class Settings(BaseSettings):
    """Settings of the API, the worker and the reconciler.

    `DATABASE_URL` and `REDIS_URL` keep the names every platform gives them; all others are `SECATEUR_…`.
    """

    model_config = SettingsConfigDict(env_prefix="SECATEUR_", populate_by_name=True, extra="ignore")

    database_url: str = Field(
        validation_alias="DATABASE_URL",
        description="Postgres as SQLAlchemy names it: postgresql+psycopg://user:password@host/database",
    )
    redis_url: str = Field(
        validation_alias="REDIS_URL",
        description="The Celery broker: redis://host:6379/0, or redis+socket:///path/to/socket",
    )
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("secateur"),
        description="Where the registry, the work folders and the logs live",
    )
    registry_url: Annotated[str, AfterValidator(parse_registry_url)] | None = Field(
        default=None,
        description="An object store that has the registry, as s3://bucket/prefix; by default the data folder has it",
    )
    local_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Folders that jobs may read models and texts from, separated by ':'",
    )
    trusted_remote_code: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Models whose own code may run, as owner/name@commit or /folder@digest, separated by ','",
    )
    allow_pickle: bool = Field(
        default=False,
        description="Whether weights may be read from pickled files (pytorch_model.bin)",
    )
    device: str = Field(default="auto", description="Where the worker prunes: auto, cpu, cuda, cuda:1, …")
    device_memory_budget: ByteSize | None = Field(
        default=None,
        gt=0,
        description="The most of the device's memory that a job may take, in bytes or as in 24GiB; by default all that "
        "is free",
    )
    host_memory_budget: ByteSize | None = Field(
        default=None, gt=0, description="The same of the machine's memory, beside a device that has its own"
    )
    lease_seconds: float = Field(
        default=60, gt=0, description="A worker silent for this long has lost its job"
    )
    renew_seconds: float = Field(
        default=3,
        gt=0,
        description="How often a worker renews its lease and looks whether the job was cancelled",
    )
    share_patience_seconds: float = Field(
        default=60,
        ge=0,
        description="How long a worker waits for a share of its search, beyond twice what its own took",
    )
    max_attempts: int = Field(default=3, ge=1, description="A job whose worker died this often has failed")
    require_api_keys: bool = Field(
        default=True,
        description="Whether every request needs an API key; without, whoever reaches the API may do everything",
    )
    log_format: LogFormat = Field(
        default="text",
        description="text, or json: an object a line, with job_id, attempt and request_id where known",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Where a worker that prunes answers `/metrics` and `/readyz`; by default nowhere",
    )
    metrics_host: str = Field(default="127.0.0.1", description="The address it does so on")
    max_body_bytes: int = Field(default=65536, gt=0, description="The largest request body the API reads")

    @field_validator("local_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        return [part for part in value.split(":") if part] if isinstance(value, str) else value

    @field_validator("trusted_remote_code", mode="before")
    @classmethod
    def _split_trusted(cls, value: object) -> object:
        return parse_trusted(value) if isinstance(value, str) else value

    @property
    def memory_budget(self) -> MemoryBudget:
        """What any job may take."""
        return MemoryBudget(device=self.device_memory_budget, host=self.host_memory_budget)

    @property
    def registry_root(self) -> Path:
        return self.data_dir / "registry"

    @property
    def work_root(self) -> Path:
        return self.data_dir / "work"
