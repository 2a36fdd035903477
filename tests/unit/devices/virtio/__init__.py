# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio devices, driven as a driver drives them: through registers and rings in memory."""
