# SPDX-License-Identifier: GPL-2.0-or-later
"""The formats that come with this package; each module is imported when it is first asked for."""
