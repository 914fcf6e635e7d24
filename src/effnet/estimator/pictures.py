"""From the `X` that scikit-learn hands an estimator to pictures: arrays, flat rows or paths."""

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from effnet.data.arrays import pixels, with_last_axis
from effnet.data.splits import ArraySplit, FileSplit
from effnet.errors import DataError, UsageError

WHITE = 255
LEVELS = (0.0, 255.0)
"""Black and white in uint8."""
MANY = 0.5
"""Share of the values beyond black and white that is taken for another scale."""
CALLER = 6
"""Frames from a warning to who called an estimator."""
DEEPEST = (1, 3)
"""Channels that flat rows are tried with: grey, then in colour."""

Shape = tuple[int, int, int]
Range = tuple[float, float]


class PictureInput:
    """Part of an estimator that turns `X` into pictures, the same in fit and afterwards.

    Attributes:
        image_shape: (height, width, channels) of a flat row, as numpy's reshape takes it: one of
            them may be -1; None for squares, grey or in colour.
        value_range: the values that are black and white in arrays; None for 0 and 255 where the
            training pictures are uint8, else for the smallest and the largest of them.
        image_shape_: of the flat rows that were fitted; None where there were none.
        value_range_: what `value_range` came to, for arrays of every type; None after a fit on
            files, where `Model.predict`'s rule holds for arrays.
    """

    image_shape: tuple[int, ...] | None
    value_range: Range | None
    image_shape_: Shape | None
    value_range_: Range | None

    def _pictures(self, X: Any, *, reset: bool) -> ArraySplit | FileSplit:  # noqa: N803
        """Return the pictures, all with the label 0.

        Args:
            X: numbers (N, H, W, C), (N, H, W) or flat (N, features), or one column of paths.
            reset: learn from them how later ones are read; else read them as those.

        Raises:
            ValueError: it is none of these, or of other features than those that were fitted.
            DataError: a path is that of no file.
        """
        paths = paths_in(X)
        if reset:
            self.image_shape_, self.value_range_ = None, checked_range(self.value_range)
            for name in ("n_features_in_", "feature_names_in_"):
                vars(self).pop(name, None)
        if paths is not None:
            require_files(paths)
            return FileSplit(paths, _no_labels(len(paths)))
        # Names of columns first: where they differ, the values may make no sense.
        validate_data(self, X, reset=reset, skip_check_array=True, ensure_2d=False)
        array = check_array(X, allow_nd=True, input_name="X", estimator=self)
        if array.ndim == 2:
            validate_data(self, X, reset=reset, skip_check_array=True)
            array = array.reshape(len(array), *self._row_shape(array.shape[1], reset))
        array = with_last_axis(array)
        if array.ndim != 4:
            raise UsageError(
                "Pictures must be (N, H, W, C), (N, H, W) or flat (N, features); X has the shape "
                f"{array.shape}."
            )
        return ArraySplit(self._levels(array, reset), _no_labels(len(array)))

    def _row_shape(self, features: int, reset: bool) -> Shape:
        shape = self.image_shape_ or row_shape(features, self.image_shape)
        if reset:
            self.image_shape_ = shape
        return shape

    def _levels(self, array: NDArray[Any], reset: bool) -> NDArray[np.uint8]:
        if reset and self.value_range_ is None:
            self.value_range_ = usual_range(array)
        if self.value_range_ is None:
            return pixels(array)
        warn_of_scale(array, *self.value_range_)
        return stretched(array, *self.value_range_)


def paths_in(X: Any) -> tuple[Path, ...] | None:  # noqa: N803
    """Return the files that one column of paths names; None if `X` is something else.

    Args:
        X: a list, an array, a series or a data frame.

    Raises:
        UsageError: there are several columns, or not only paths in it.
    """
    column = X.to_numpy() if hasattr(X, "to_numpy") else X
    if isinstance(column, list | tuple):
        first = column[0] if column else None
        if not _is_path(first[0] if isinstance(first, list | tuple) and first else first):
            return None
        column = np.array(column, dtype=object)
    if not isinstance(column, np.ndarray) or column.dtype.kind not in "OUT":
        return None
    if not (column.size and _is_path(column.flat[0])):
        return None
    if column.shape not in ((len(column),), (len(column), 1)):
        raise UsageError(
            f"Paths of pictures must be one column; X has the shape {column.shape}. Choose one, as "
            "in X[['path']]."
        )
    values = column.ravel().tolist()
    for place, value in enumerate(values):
        if not _is_path(value):
            raise UsageError(f"Paths of pictures must be strings or paths; row {place} is {value}.")
    return tuple(map(Path, values))


def row_shape(features: int, wanted: tuple[int, ...] | None) -> Shape:
    """Return (height, width, channels) of flat rows of so many values.

    Raises:
        UsageError: they are no square, or cannot have the wanted shape.

    >>> row_shape(64, None), row_shape(192, None), row_shape(24, (4, -1))
    ((8, 8, 1), (8, 8, 3), (4, 6, 1))
    """
    if wanted is not None:
        try:
            shape = np.empty(features, np.uint8).reshape(wanted).shape
            height, width, channels = (*shape, 1) if len(shape) == 2 else shape
            return height, width, channels
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"Rows of {features} values cannot be pictures of image_shape={wanted}: give "
                "(height, width) or (height, width, channels)."
            ) from error
    for channels in DEEPEST:
        side = math.isqrt(features // channels)
        if side * side * channels == features:
            return side, side, channels
    raise UsageError(
        f"Rows of {features} values are no square pictures, grey or in colour: give "
        "image_shape=(height, width, channels), or pictures (N, H, W, C)."
    )


def usual_range(array: NDArray[Any]) -> Range:
    """Return the values that are black and white where nobody says it."""
    return LEVELS if array.dtype == np.uint8 else (float(array.min()), float(array.max()))


def warn_of_scale(array: NDArray[Any], low: float, high: float) -> None:
    """Warn if most values lie beyond black and white, or all within what is one level of grey."""
    least, most = array.min(), array.max()
    beyond = np.mean((array < low) | (array > high))
    if beyond > MANY or least < most <= low + (high - low) / WHITE:
        warnings.warn(
            f"X ranges from {least:g} to {most:g}, where black is {low:g} and white {high:g}: give "
            "values on the scale of fit, or set value_range.",
            stacklevel=CALLER,
        )


def stretched(array: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return levels from 0, for `low` and below, to 255, for `high` and above."""
    if array.dtype == np.uint8 and (low, high) == LEVELS:
        return array
    levels = np.subtract(array, low, dtype=np.float32)
    levels *= WHITE / ((high - low) or 1.0)
    np.clip(levels, 0, WHITE, out=levels)
    return np.rint(levels, out=levels).astype(np.uint8)


def checked_range(wanted: Range | None) -> Range | None:
    """Return (black, white) as numbers. Raises UsageError unless black is below white."""
    if wanted is None:
        return None
    try:
        low, high = map(float, wanted)
    except (TypeError, ValueError):
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"value_range must be (black, white), black < white; it is {wanted!r}.")
    return low, high


def require_files(paths: Sequence[Path]) -> None:
    """Raise DataError unless there is a file at each path."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        others = f", nor are {len(missing) - 1} others" if len(missing) > 1 else ""
        raise DataError(
            f"{missing[0]} is no file{others}. Relative paths start from the working folder, "
            f"{Path.cwd()}."
        )


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _no_labels(count: int) -> NDArray[np.int64]:
    return np.zeros(count, np.int64)
