"""Has `huggingface_hub` in this process talk to a test's Hub: it reads its environment when it is imported."""

import pytest
from huggingface_hub import close_session, constants

from tests.hub.calls import Hub

TOKEN = "hf_secretsecretsecretsecretsecret"


def environment(hub: Hub) -> dict[str, str]:
    """For a process that is yet to import it."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
    }


def talk_to(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setenv("HF_TOKEN", TOKEN)
    close_session()
