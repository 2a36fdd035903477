# SPDX-License-Identifier: GPL-2.0-or-later
"""Colours and type of the pictures, for light and for dark surroundings."""

from __future__ import annotations

LIGHT = {
    "page": "#f7f8fa",
    "card": "#ffffff",
    "edge": "#dfe3e8",
    "text": "#16202c",
    "soft": "#5d6b7b",
    "empty": "#e9edf2",
    "ink": "#ffffff",
    "rw": "#2f6fde",
    "ro": "#12a07a",
    "wo": "#d9860a",
    "none": "#98a2b0",
    "rw-priv": "#6b4fd0",
    "ro-priv": "#0b7f9c",
    "wo-priv": "#a8590b",
    "fault": "#d0262e",
    "size-0": "#f3d9a4",
    "size-1": "#e9a94f",
    "size-2": "#c2661b",
    "size-3": "#6e2f0b",
    "jump": "#e0243b",
    "run-1": "#b3bfce",
    "run-2": "#75869b",
    "run-3": "#3d4c61",
    "error": "#c81e2b",
    "warning": "#9a6200",
}
DARK = {
    "page": "#0d1219",
    "card": "#151c26",
    "edge": "#2a3543",
    "text": "#e8eef5",
    "soft": "#93a2b4",
    "empty": "#222c39",
    "ink": "#0d1219",
    "rw": "#5b95ff",
    "ro": "#35c79d",
    "wo": "#f2ab3f",
    "none": "#7d8896",
    "rw-priv": "#a48cff",
    "ro-priv": "#3fb9d8",
    "wo-priv": "#d9803a",
    "fault": "#ff5c63",
    "size-0": "#5d4a2a",
    "size-1": "#a9742a",
    "size-2": "#e99a45",
    "size-3": "#ffdcae",
    "jump": "#ff5a6e",
    "run-1": "#435264",
    "run-2": "#7b8ca2",
    "run-3": "#c5d0dd",
    "error": "#ff6b73",
    "warning": "#e0a63c",
}
FONT = "Inter, 'Segoe UI', system-ui, -apple-system, 'DejaVu Sans', sans-serif"
MONO = "'JetBrains Mono', 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
THEMES = ("auto", "light", "dark")


def style(theme: str) -> str:
    """Return a style sheet: `auto` follows the reader's surroundings."""
    colours = _rules(DARK if theme == "dark" else LIGHT)
    if theme == "auto":
        colours += "@media (prefers-color-scheme: dark){" + _rules(DARK) + "}"
    return _SHAPES + colours


def _rules(colours: dict[str, str]) -> str:
    fills = "".join(f".f-{name}{{fill:{value}}}" for name, value in colours.items())
    strokes = "".join(
        f".s-{name}{{stroke:{colours[name]}}}" for name in ("edge", "ink", "soft", "card")
    )
    return fills + strokes


_SHAPES = (
    f"text{{font-family:{FONT}}}"
    f".mono{{font-family:{MONO}}}"
    ".title{font-size:25px;font-weight:650}"
    ".number{font-size:23px;font-weight:600}"
    ".head{font-size:13.5px;font-weight:600}"
    ".body{font-size:13px}"
    ".small{font-size:11.5px}"
    ".tiny{font-size:10.5px}"
    ".end{text-anchor:end}"
    ".middle{text-anchor:middle}"
)
