"""`uvicorn api.app:app`."""

from api.application import create_app
from jobs.settings import Settings

app = create_app(Settings())
