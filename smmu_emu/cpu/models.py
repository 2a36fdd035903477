# SPDX-License-Identifier: GPL-2.0-or-later
"""Models of cores that run guests, by what they execute."""

from __future__ import annotations

AARCH64_MODELS = ("cortex-a57", "cortex-a53", "cortex-a72")
AARCH32_MODELS = ("cortex-a15",)
GUEST_MODELS = (*AARCH64_MODELS, *AARCH32_MODELS)
