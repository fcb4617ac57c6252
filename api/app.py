"""`uvicorn api.app:app`."""

from api.application import create_app
from jobs import logs
from jobs.settings import Settings

settings = Settings()
logs.configure(settings.log_format)
app = create_app(settings)
