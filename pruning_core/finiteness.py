"""Not a number, or infinite: said of the first place where it shows."""

from collections.abc import Iterable

from torch import Tensor

from pruning_core.errors import BrokenModelError

OVERFLOW_REMEDY = "float16 overflows in some families; ask for dtype bfloat16 or float32."


def require_finite_weights(weights: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse a model with NaN or infinity in one of these weights, given with their names.

    Raises:
        BrokenModelError: with the weight's name, which holds its decoder layer's number.
    """
    for name, weight in weights:
        if not weight.isfinite().all():
            raise BrokenModelError(
                f"The weight {name} holds values that are not finite in {weight.dtype}. "
                "Ask for dtype bfloat16 or float32, repair the checkpoint, or name another."
            )


def require_finite_activations(activations: Tensor, layer: int) -> None:
    """Refuse to go on with NaN or infinity, or with sums made of them.

    Raises:
        BrokenModelError: with the decoder layer's number.
    """
    if not activations.isfinite().all():
        raise BrokenModelError(f"Activations of decoder layer {layer} are not finite. {OVERFLOW_REMEDY}")
