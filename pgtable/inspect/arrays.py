# SPDX-License-Identifier: GPL-2.0-or-later
"""Names for the numpy arrays that readers pass around, and two tools on them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def u64(value: int) -> np.uint64:
    """Return a number as numpy's unsigned type, which never mixes with signed ones."""
    return np.uint64(value)


def starts_of_runs(breaks: Mask) -> I64:
    """Return where runs begin, given where element i does not continue element i - 1."""
    breaks[:1] = True
    found: I64 = np.flatnonzero(breaks)
    return found


def lengths_of_runs(starts: I64, total: int) -> I64:
    """Return how many elements each run has."""
    return np.diff(starts, append=total)
