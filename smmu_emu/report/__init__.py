# SPDX-License-Identifier: GPL-2.0-or-later
"""The page that people look at: a trace as one HTML file that works without a network."""
