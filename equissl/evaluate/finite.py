"""The check that features are finite, wherever they are made and wherever evaluations receive them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from equissl.errors import NonFiniteError

LARGEST = 1e12  # sums of more squares over images and columns would overflow in float32


def check_finite(
    values: Tensor, what: str = "the features", names: Sequence[str] = (), origin: str = ""
) -> None:
    """Checks that every image has finite features.

    Args:
        values: (N, ...), one row per image.
        what: names them in the message, in the plural.
        names: of the images; their numbers if absent.
        origin: what was not finite first, if that is known.

    Raises:
        NonFiniteError: a row holds NaN, infinity or a number above ``LARGEST``; says of how many images,
            and names the first.
    """
    if not values.numel():
        return
    least, greatest = values.aminmax()
    if least >= -LARGEST and greatest <= LARGEST:
        return
    bad = ~(values.flatten(1).abs() <= LARGEST).all(1)
    first = int(bad.nonzero()[0, 0])
    name = repr(names[first]) if names else f"number {first}"
    began = f"; {origin} is the first that is not" if origin else ""
    raise NonFiniteError(
        f"{what} are not finite, or above {LARGEST:g}, for {int(bad.sum())} of {len(values)} images (the "
        f"first is {name}){began}: the weights are damaged, or their training diverged"
    )
