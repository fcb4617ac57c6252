"""What the service is compared with: FastAPI and Celery as their tutorials put them together. Nothing is stored.

`uvicorn benchmarks.load.bare:app`; a post is lost with the broker, and nobody can ask what became of it.
"""

import os
from typing import Literal
from uuid import UUID, uuid4

from celery import Celery
from fastapi import FastAPI, Response, status
from pydantic import BaseModel, Field

celery = Celery("bare", broker=os.environ["REDIS_URL"])
celery.conf.update(task_ignore_result=True, task_default_queue="bare")
app = FastAPI()


class Text(BaseModel):
    dataset: str
    samples: int = Field(default=128, ge=1)
    sequence_length: int = Field(default=2048, ge=2)
    seed: int = 0


class Destination(BaseModel):
    kind: Literal["local"] = "local"


class Request(BaseModel):
    model: str
    method: Literal["osscar", "depth"]
    ratio: float = Field(gt=0, lt=1)
    calibration: Text
    evaluation: Text
    destination: Destination = Destination()


class Accepted(BaseModel):
    id: UUID
    request: Request


@celery.task
def prune(job_id: str) -> None:
    """Nobody works here: what is measured is how fast jobs are accepted."""


@app.post("/jobs", status_code=status.HTTP_201_CREATED)
def submit(request: Request, response: Response) -> Accepted:
    job_id = uuid4()
    prune.delay(str(job_id))
    response.headers["Location"] = f"/jobs/{job_id}"
    return Accepted(id=job_id, request=request)


@app.get("/healthz")
def live() -> dict[str, str]:
    return {"status": "ok"}
