# SPDX-License-Identifier: GPL-2.0-or-later
"""Misuse of the emulator. What a guest does wrong is architecture and never ends up here."""

from __future__ import annotations


class EmulatorError(Exception):
    """Root of every error this package raises; the command line prints it as one line."""


class MemoryMapError(EmulatorError):
    """A RAM block or device window overlaps another, or is not page aligned."""


class ImageError(EmulatorError):
    """An image cannot be loaded: missing, truncated, foreign, or outside RAM."""


class ConfigurationError(EmulatorError):
    """A machine or device was asked for something that it cannot be."""
