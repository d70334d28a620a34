"""The small real model of the tour: handwritten digits, a plain network, and images it has never seen.

`digits.npz` is written by `tools/train_digits.py`, which says how the model was trained. The images are from
E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
CC BY 4.0, by way of scikit-learn's `load_digits`. This module knows nothing of quantization: it takes tensors
and says how well the network does with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["DigitsModel", "load_digits_model"]

_LARGEST_PIXEL = 16  # a power of two: pixels become float32 in [0, 1] exactly


@dataclass(frozen=True, eq=False)
class DigitsModel:
    """A trained network and the held-out images that measure it.

    Attributes
    ----------
    tensors : dict of str to ndarray of float32
        Named as in a checkpoint, in order: `layer1.weight` of shape (out, in), `layer1.bias` of shape (out,),
        `layer2.weight` and so on. Between two layers stands ReLU.
    images : ndarray of float32, shape (N, 64)
        Held-out images of 8 x 8 pixels, row by row, from 0 (paper) to 1 (ink) in steps of 1/16.
    labels : ndarray of uint8, shape (N,)
        The digit that each image shows.

    Notes
    -----
    The arrays are read-only; a caller who wants other weights passes a copy as `tensors`.
    """

    tensors: dict[str, NDArray[np.float32]]
    images: NDArray[np.float32]
    labels: NDArray[np.uint8]

    def logits(
        self, images: ArrayLike | None = None, tensors: Mapping[str, ArrayLike] | None = None
    ) -> NDArray[np.float32]:
        """Run the network in float32: one score per image and digit, the largest being the answer.

        Parameters
        ----------
        images : array_like, shape (N, 64), optional
            Images scaled as `self.images` is; those by default.
        tensors : mapping of str to array_like, optional
            Tensors to use in place of the model's own of the same name, such as dequantized weights, of any
            float dtype (ml_dtypes' too). A tensor not named stays the model's own.

        Returns
        -------
        ndarray of float32, shape (N, 10)

        Raises
        ------
        TypeError
            If a tensor is not of a float dtype: codes have to be dequantized first.
        ValueError
            If a tensor has a name or a shape that the model does not have, or a value that float32 lacks.

        Examples
        --------
        >>> from bitquant.data import load_digits_model
        >>> model = load_digits_model()
        >>> model.logits().shape
        (500, 10)
        >>> int((model.logits().argmax(axis=1) != model.labels).sum())
        2
        """
        used = {**self.tensors, **self._substitutes(tensors or {})}
        values = self.images if images is None else np.asarray(images, dtype=np.float32)
        layers = len(used) // 2
        for layer in range(1, layers + 1):
            values = values @ used[f"layer{layer}.weight"].T + used[f"layer{layer}.bias"]
            if layer < layers:
                values = np.maximum(values, np.float32(0))
        return values

    def accuracy(self, tensors: Mapping[str, ArrayLike] | None = None) -> float:
        """Return the share of held-out images that the network reads correctly, from 0 to 1.

        Parameters
        ----------
        tensors : mapping of str to array_like, optional
            Tensors to use in place of the model's own, as in `logits`, which also says what is refused.

        Returns
        -------
        float

        Examples
        --------
        >>> import numpy as np
        >>> from bitquant.data import load_digits_model
        >>> model = load_digits_model()
        >>> model.accuracy()
        0.996
        >>> model.accuracy({name: tensor.astype(np.float16) for name, tensor in model.tensors.items()})
        0.996
        """
        return float(np.mean(self.logits(tensors=tensors).argmax(axis=1) == self.labels))

    def _substitutes(self, tensors: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float32]]:
        """`tensors` as exact float32, or an error that names the tensor."""
        return {name: self._substitute(name, np.asarray(tensor)) for name, tensor in tensors.items()}

    def _substitute(self, name: str, tensor: NDArray[np.generic]) -> NDArray[np.float32]:
        if name not in self.tensors:
            raise ValueError(f"the digits model has no tensor {name!r}; it has {', '.join(self.tensors)}")
        if tensor.shape != self.tensors[name].shape:
            raise ValueError(f"{name} has shape {tensor.shape}; the model's is {self.tensors[name].shape}")
        if "float" not in tensor.dtype.name:  # ml_dtypes' names too, whatever their kind
            raise TypeError(f"{name} has dtype {tensor.dtype}, which is no float: dequantize codes first")
        with np.errstate(all="ignore"):
            exact = tensor.astype(np.float32)
        if tensor.dtype.itemsize > exact.itemsize and not np.array_equal(exact, tensor, equal_nan=True):
            raise ValueError(f"{name} holds {tensor.dtype} values that float32 lacks: round it to float32 first")
        return exact


def load_digits_model() -> DigitsModel:
    """Load the small model that ships with the package, and its held-out images.

    Returns
    -------
    DigitsModel
        A network 64 -> 128 -> 64 -> 10 with ReLU, trained by `tools/train_digits.py`, and 500 images with
        their labels that had no part in the training.

    Examples
    --------
    >>> from bitquant.data import load_digits_model
    >>> model = load_digits_model()
    >>> {name: tensor.shape for name, tensor in model.tensors.items() if name.endswith("weight")}
    {'layer1.weight': (128, 64), 'layer2.weight': (64, 128), 'layer3.weight': (10, 64)}
    """
    path = files("bitquant.data") / "digits.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    pixels, labels = arrays.pop("images"), arrays.pop("labels")
    images = pixels.astype(np.float32) / np.float32(_LARGEST_PIXEL)
    for array in (*arrays.values(), images, labels):
        array.flags.writeable = False
    return DigitsModel(arrays, images, labels)
