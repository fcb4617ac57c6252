"""The sizes that a config must hold before anything can be computed with them."""

from collections.abc import Iterable

from pruning_core.errors import UnreadableModelError
from pruning_core.models.description import Config


def require_sizes(names: Iterable[str], config: Config, model: str) -> None:
    """Refuse a config in which one of these fields is no whole number above 0.

    Raises:
        UnreadableModelError: with the one that is missing, or is no such number.
    """
    for name in names:
        value = config.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UnreadableModelError(
                "model",
                model,
                f"its config has no {name}."
                if value is None
                else f"its config says {name} = {value!r}, which must be a whole number above 0.",
                "Repair the config, or name another checkpoint.",
            )
