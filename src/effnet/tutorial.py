"""The tutorial's own call."""

from effnet.errors import UsageError
from effnet.model import Model
from effnet.nets.scaling import scale


def build_efficientnet(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    scale_factor: float = 1.0,
    num_classes: int = 10,
) -> Model:
    """Build a B0 scaled in depth and width together, with softmax classes.

    The call of the tutorial "EfficientNet: principles and code", doing what its listing meant.

    Args:
        input_shape: (height, width, channels) of the pictures; height and width are equal.
        scale_factor: depth and width over B0's.
        num_classes: number of classes.

    Raises:
        UsageError: a value is out of range, or height and width differ.

    >>> model = build_efficientnet(input_shape=(224, 224, 3), scale_factor=1.1)
    >>> len(model.classes), model.spec.head
    (10, 1408)
    """
    height, width, channels = input_shape
    if height != width:
        raise UsageError(f"input_shape must be square; {height} x {width} is not.")
    spec = scale("b0", factor=scale_factor).with_(
        resolution=height, train_resolution=height, in_channels=channels
    )
    return Model(spec, classes=num_classes)
