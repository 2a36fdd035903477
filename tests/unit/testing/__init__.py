# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests are written with is tested, too."""
