"""Mean image and RGB covariance of a set of images, exact: integer sums in one pass, rounded once at the end.

Sums are integers, so parts of a set can be counted in any order, on any number of threads or machines, and merged to
the same bits. This module knows nothing of files.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from alexnet.compiling import compile_function


class PixelStatistics:
    """Exact sums over images of one size, and what follows from them.

    Images are (N, size, size, 3) uint8 RGB. Sums hold more than 10**9 images before any integer could overflow.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.num_images = 0
        self.pixel_sums: NDArray[np.uint64] = np.zeros((size, size, 3), np.uint64)
        """Sum over images of every pixel and channel."""
        self.color_products: NDArray[np.uint64] = np.zeros((3, 3), np.uint64)
        """Sum over all pixels of the products of channels, R R, R G and so on."""

    def add(self, images: NDArray[np.uint8]) -> None:
        """Count these images, (N, size, size, 3). Releases the interpreter lock; 0.05 ms for 256 pixels.

        Raises:
            ValueError: images have another shape or dtype.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (self.size, self.size, 3):
            raise ValueError(
                f"statistics of {self.size} px images were given {images.dtype} of shape {images.shape}; "
                f"give uint8 of shape (N, {self.size}, {self.size}, 3)"
            )
        flat = np.ascontiguousarray(images).reshape(len(images), self.size * self.size, 3)
        products = np.zeros(6, np.uint64)
        for start in range(0, len(flat), _MOST):
            _accumulate(flat[start : start + _MOST], self.pixel_sums.reshape(-1, 3), products)
        rows, columns = np.triu_indices(3)
        self.color_products[rows, columns] += products
        self.color_products[columns, rows] = self.color_products[rows, columns]
        self.num_images += len(images)

    def count(self, blocks: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """Yield blocks of images, each when it is counted."""
        for images in blocks:
            self.add(images)
            yield images

    def merge(self, other: "PixelStatistics") -> None:
        """Count all images of other too; other is not modified.

        Raises:
            ValueError: other counted images of another size.
        """
        if other.size != self.size:
            raise ValueError(
                f"statistics of {other.size} px images cannot be merged into those of {self.size} px images"
            )
        self.num_images += other.num_images
        self.pixel_sums += other.pixel_sums
        self.color_products += other.color_products

    @property
    def num_pixels(self) -> int:
        """Number of pixels counted: num_images x size x size."""
        return self.num_images * self.size * self.size

    def mean_image(self) -> NDArray[np.float32]:
        """Mean of the images, (size, size, 3), 0 to 255; at least one image must have been counted."""
        return (self.pixel_sums / np.float64(self.num_images)).astype(np.float32)

    def summarize_colors(self) -> "ColorStatistics":
        """Mean, covariance and principal axes of R, G and B over all pixels; at least one image must be counted."""
        count = self.num_pixels
        sums = [int(value) for value in self.pixel_sums.sum(axis=(0, 1))]
        products = [[int(value) for value in row] for row in self.color_products]
        covariance = np.array(
            [
                # Fractions are exact: n * products - sums * sums needs more than 64 bits and cancels most of them.
                [float(Fraction(count * products[i][j] - sums[i] * sums[j], count * count)) for j in range(3)]
                for i in range(3)
            ]
        )
        eigenvalues, eigenvectors = find_principal_axes(covariance)
        return ColorStatistics(
            num_pixels=count,
            sums=sums,
            products=products,
            mean=np.array([float(Fraction(value, count)) for value in sums]),
            covariance=covariance,
            eigenvalues=eigenvalues,
            eigenvectors=eigenvectors,
        )


@dataclass(frozen=True, kw_only=True)
class ColorStatistics:
    """What is known of the RGB values of all pixels, each value in 0 to 255."""

    num_pixels: int
    sums: list[int]
    """Exact sum of each channel."""
    products: list[list[int]]
    """Exact sums of the products of channels, 3 x 3."""
    mean: NDArray[np.float64]
    """(3,)."""
    covariance: NDArray[np.float64]
    """(3, 3), divided by the number of pixels (not less one)."""
    eigenvalues: NDArray[np.float64]
    """(3,), largest first, never negative."""
    eigenvectors: NDArray[np.float64] = field(repr=False)
    """(3, 3), unit columns in the order of the eigenvalues."""


def find_principal_axes(covariance: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (3,) and unit eigenvectors (columns of (3, 3)) of a covariance, largest eigenvalue first.

    Eigenvalues below zero, which only rounding can give, become zero. The sign of an eigenvector is free; here its
    component of largest magnitude (the first of equals) is positive.
    """
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    eigenvalues, eigenvectors = np.maximum(eigenvalues[::-1], 0.0), eigenvectors[:, ::-1]
    largest = eigenvectors[np.abs(eigenvectors).argmax(axis=0), np.arange(3)]
    return eigenvalues.copy(), eigenvectors * np.where(largest < 0, -1.0, 1.0)


_LANES = 192  # a multiple of 3, so that a lane always meets the same channel, and of the width of vectors
_STRETCH = 64 * _LANES  # values of which several images are counted in turn, so that their sums stay in the cache
_MOST = 256  # images: as many sums of values up to 255 fit 16 bits


# Against 0.50 ms of NumPy (uint32 sums, float64 matrix product) this loop needs 0.05 ms for a 256 px image.
@compile_function
def _accumulate(images: NDArray[np.uint8], sums: NDArray[np.uint64], products: NDArray[np.uint64]) -> None:
    """Add at most _MOST images (N, P, 3) to sums (P, 3) and to the six products RR RG RB GG GB BB.

    Values are taken as one long row: each is multiplied with itself, its neighbour and the next but one, in lanes that
    run on as vectors. Lane 0 of 3 so sums RR, RG and RB, lane 1 GG and GB, lane 2 BB; the other products mix pixels.
    """
    totals = sums.reshape(-1)
    length = totals.shape[0]
    whole = max(length - 2, 0) // _LANES * _LANES  # values behind it are added one by one
    few = np.zeros(_STRETCH, np.uint16)  # sums over these images only
    # 64 products of at most 255 * 255 fit 32 bits.
    squares, nexts, others = np.zeros(_LANES, np.uint32), np.zeros(_LANES, np.uint32), np.zeros(_LANES, np.uint32)
    for start in range(0, length, _STRETCH):
        stop = min(start + _STRETCH, length)
        few[:] = 0
        for n in range(images.shape[0]):
            values = images[n].reshape(-1)
            stretch = values[start:stop]
            for i in range(stop - start):
                few[i] += np.uint16(stretch[i])
            squares[:] = 0
            nexts[:] = 0
            others[:] = 0
            for i in range(start, min(stop, whole), _LANES):
                near = values[i : i + _LANES + 2]
                for j in range(_LANES):
                    value = np.uint32(near[j])
                    squares[j] += np.uint32(value * np.uint32(near[j]))
                    nexts[j] += np.uint32(value * np.uint32(near[j + 1]))
                    others[j] += np.uint32(value * np.uint32(near[j + 2]))
            for j in range(0, _LANES, 3):
                products[0] += np.uint64(squares[j])
                products[1] += np.uint64(nexts[j])
                products[2] += np.uint64(others[j])
                products[3] += np.uint64(squares[j + 1])
                products[4] += np.uint64(nexts[j + 1])
                products[5] += np.uint64(squares[j + 2])
            for i in range(max(start, whole), stop, 3):
                r, g, b = np.uint64(values[i]), np.uint64(values[i + 1]), np.uint64(values[i + 2])
                products[0] += r * r
                products[1] += r * g
                products[2] += r * b
                products[3] += g * g
                products[4] += g * b
                products[5] += b * b
        part = totals[start:stop]
        for i in range(stop - start):
            part[i] += few[i]
