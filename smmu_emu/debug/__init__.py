# SPDX-License-Identifier: GPL-2.0-or-later
"""Debuggers: a server of GDB's remote protocol, and what it says about the SMMU."""
