"""Train the small model of the tour and write `src/bitquant/data/digits.npz`.

    python tools/train_digits.py [--validate]

The model is a plain network, 64 -> 128 -> 64 -> 10 with ReLU, on scikit-learn's 8 x 8 handwritten digits
(E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
CC BY 4.0). The file holds its weights and biases in float32, named as in a checkpoint, and the 500 held-out
images with their labels. NumPy and scikit-learn are needed, and only here: the package loads the file with
NumPy alone.

Design
  a. The held-out images take no part in training and none in a choice. Every setting below was chosen with
     --validate, which never sees them: it splits the training images again and scores on the smaller part.
     There is no early stopping; the last weights are the model.
  b. The weights are what training gave, rounded once to float32: nothing is pruned, clipped or shaped after.
  c. Training images are shifted by up to one pixel either way, so that the pixels at the border, which are
     nearly always empty, get trained weights too. Weight decay is decoupled from Adam's step (Loshchilov and
     Hutter, "Decoupled Weight Decay Regularization", 2019): Adam would otherwise turn the decay of a rarely
     inked pixel's weights into full-sized steps, and a column of zeros is not what a layer looks like.
  d. Training runs in float64, so that what differs between processors' matrix products stays far below the
     one rounding to float32. With the seed, a fixed order of entries and a fixed date in the zip file, the
     same versions of NumPy and scikit-learn write the same bytes again.
"""

import argparse
import io
import time
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

TARGET = Path(__file__).resolve().parent.parent / "src" / "bitquant" / "data" / "digits.npz"
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can say

SIZES = (64, 128, 64, 10)
HELD_OUT = 500
SEED = 8
EPOCHS = 1000
BATCH = 64
RATE = 3e-3  # the first step's; falls to zero along a cosine
DECAY = 0.1
DROPOUT = 0.1
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's own (Kingma and Ba, 2015)

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]


def shifted(images: Floats, rng: np.random.Generator) -> Floats:
    """Each image of (N, 64) moved by -1, 0 or 1 pixels down and across, empty pixels coming in."""
    padded: Floats = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    top, left = rng.integers(0, 3, (2, len(images), 1, 1))
    rows, columns = np.arange(8)[:, None] + top, np.arange(8) + left
    moved: Floats = padded[np.arange(len(images))[:, None, None], rows, columns]
    return moved.reshape(-1, 64)


def initial(rng: np.random.Generator) -> list[Floats]:
    """Weights (out, in) drawn normal with variance 2 / in (He et al., 2015), and zero biases, in turn."""
    tensors: list[Floats] = []
    for inputs, outputs in pairwise(SIZES):
        tensors += [rng.normal(0.0, np.sqrt(2.0 / inputs), (outputs, inputs)), np.zeros(outputs)]
    return tensors


def gradients(tensors: list[Floats], images: Floats, labels: Bytes, rng: np.random.Generator) -> list[Floats]:
    """Slopes of a batch's mean cross-entropy, in the order of `tensors`, with dropout on hidden layers."""
    weights, biases = tensors[0::2], tensors[1::2]
    inputs, masks = [images], []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        summed = inputs[-1] @ weight.T + bias
        masks.append((summed > 0) * (rng.random(summed.shape) >= DROPOUT) / (1 - DROPOUT))
        inputs.append(summed * masks[-1])
    logits = inputs[-1] @ weights[-1].T + biases[-1]

    delta = np.exp(logits - logits.max(axis=1, keepdims=True))
    delta /= delta.sum(axis=1, keepdims=True)
    delta[np.arange(len(labels)), labels] -= 1
    delta /= len(labels)

    found: list[Floats] = []
    for layer in reversed(range(len(weights))):
        found[:0] = [delta.T @ inputs[layer], delta.sum(axis=0)]
        if layer:
            delta = (delta @ weights[layer]) * masks[layer - 1]
    return found


def train(pixels: Bytes, labels: Bytes) -> dict[str, NDArray[np.float32]]:
    """Train the network; its float32 tensors by name: `layer1.weight` (out, in), `layer1.bias` (out,), ..."""
    rng = np.random.default_rng(SEED)
    images = pixels / 16.0
    tensors = initial(rng)
    first, second = [np.zeros_like(t) for t in tensors], [np.zeros_like(t) for t in tensors]
    batches = len(images) // BATCH
    for step in range(EPOCHS * batches):
        if step % batches == 0:
            order = rng.permutation(len(images))
        batch = order[step % batches * BATCH :][:BATCH]
        rate = RATE * (1 + np.cos(np.pi * step / (EPOCHS * batches))) / 2
        slopes = gradients(tensors, shifted(images[batch], rng), labels[batch], rng)
        for tensor, slope, mean, square in zip(tensors, slopes, first, second, strict=True):
            mean += (1 - BETA1) * (slope - mean)
            square += (1 - BETA2) * (slope * slope - square)
            move = mean / (1 - BETA1 ** (step + 1)) / (np.sqrt(square / (1 - BETA2 ** (step + 1))) + EPSILON)
            tensor -= rate * (move + (DECAY * tensor if tensor.ndim == 2 else 0.0))
    names = [f"layer{layer}.{kind}" for layer in range(1, len(SIZES)) for kind in ("weight", "bias")]
    return {name: tensor.astype(np.float32) for name, tensor in zip(names, tensors, strict=True)}


def accuracy(tensors: dict[str, NDArray[np.float32]], pixels: Bytes, labels: Bytes) -> float:
    """Find the share of images whose largest logit is their label's, computed in float32."""
    values = pixels.astype(np.float32) / np.float32(16)
    for layer in range(1, len(SIZES)):
        values = values @ tensors[f"layer{layer}.weight"].T + tensors[f"layer{layer}.bias"]
        if layer < len(SIZES) - 1:
            values = np.maximum(values, np.float32(0))
    return float(np.mean(values.argmax(axis=1) == labels))


def write_npz(path: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write what `np.savez_compressed` would, but with a fixed date, so that equal arrays are equal bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", ZIP_DATE)
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def split(pixels: Bytes, labels: Bytes) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Training pixels and labels, then the `HELD_OUT` others', each digit in proportion."""
    kept, out, kept_labels, out_labels = train_test_split(
        pixels, labels, test_size=HELD_OUT, random_state=0, stratify=labels
    )
    return kept, kept_labels, out, out_labels


def main() -> None:
    """Train and write; or, with --validate, train on a part of the training images and score on the rest."""
    parser = argparse.ArgumentParser(description="Train the small model of the tour.")
    parser.add_argument("--validate", action="store_true", help="score a part of the training images")
    validate = parser.parse_args().validate

    digits = load_digits()
    pixels, labels = digits.data.astype(np.uint8), digits.target.astype(np.uint8)
    train_pixels, train_labels, test_pixels, test_labels = split(pixels, labels)
    if validate:  # from here on the held-out images are out of reach
        train_pixels, train_labels, test_pixels, test_labels = split(train_pixels, train_labels)

    start = time.perf_counter()
    tensors = train(train_pixels, train_labels)
    print(f"trained on {len(train_labels)} images in {time.perf_counter() - start:.0f} s")
    print(f"accuracy: training {accuracy(tensors, train_pixels, train_labels):.4f}", end=", ")
    print(f"{'validation' if validate else 'held-out'} {accuracy(tensors, test_pixels, test_labels):.4f}")
    if not validate:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        write_npz(TARGET, {**tensors, "images": test_pixels, "labels": test_labels})
        print(f"wrote {TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
