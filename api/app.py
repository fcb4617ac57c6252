"""`uvicorn api.app:app`."""

import gc

from api.application import create_app
from jobs import logs
from jobs.settings import Settings

settings = Settings()
logs.configure(settings.log_format)
app = create_app(settings)
# What is here now stays. Looking through all of it for garbage stopped every request for a quarter of a second.
gc.freeze()
