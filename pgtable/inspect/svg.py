# SPDX-License-Identifier: GPL-2.0-or-later
"""The few shapes a picture is made of, as SVG."""

from __future__ import annotations

from html import escape


def _number(value: float) -> str:
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


class Svg:
    """Collects shapes; `document` makes one self-contained SVG of them."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    @staticmethod
    def escape(text: str) -> str:
        """Return text that can stand in XML."""
        clean = "".join(char for char in text if char >= " " or char in "\t\n")
        return escape(clean)

    def text(self, x: float, y: float, text: str, kind: str) -> None:
        self._parts.append(
            f'<text x="{_number(x)}" y="{_number(y)}" class="{kind}" xml:space="preserve">'
            f"{self.escape(text)}</text>"
        )

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        kind: str,
        round_by: float = 0,
        tip: str = "",
        strength: float = 1.0,
    ) -> None:
        """Draw a rectangle; `tip` shows under the pointer, `strength` is its opacity."""
        corner = f' rx="{_number(round_by)}"' if round_by else ""
        pale = f' fill-opacity="{strength:g}"' if strength < 1 else ""
        shape = (
            f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" '
            f'height="{_number(height)}" class="{kind}"{corner}{pale}'
        )
        end = f"><title>{self.escape(tip)}</title></rect>" if tip else "/>"
        self._parts.append(shape + end)

    def texture(self, x: float, y: float, width: float, height: float, name: str) -> None:
        """Lay a pattern over a rectangle; the pointer does not see it."""
        self._parts.append(
            f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" '
            f'height="{_number(height)}" fill="url(#{name})" pointer-events="none"/>'
        )

    def card(self, x: float, y: float, width: float, height: float) -> None:
        self._parts.append(
            f'<rect x="{_number(x + 0.5)}" y="{_number(y + 0.5)}" width="{_number(width)}" '
            f'height="{_number(height)}" rx="8" class="f-card s-edge"/>'
        )

    def circle(self, x: float, y: float, radius: float, kind: str) -> None:
        self._parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" class="{kind}"/>')

    def line(self, x: float, y: float, x2: float, y2: float) -> None:
        self._parts.append(
            f'<path d="M{_number(x)} {_number(y)}L{_number(x2)} {_number(y2)}" class="s-edge" '
            'stroke-dasharray="3 4"/>'
        )

    def document(self, width: int, height: int, style: str, title: str, words: str) -> str:
        """Return the whole picture."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img">\n'
            f"<title>{self.escape(title)}</title><desc>{self.escape(words)}</desc>\n"
            f"<style>{style}</style>\n{_PATTERNS}"
            f'<rect width="{width}" height="{height}" class="f-page"/>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )


_PATTERNS = (
    '<defs><pattern id="device" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="2" height="6" class="f-ink" opacity="0.45"/>'
    "</pattern>"
    '<pattern id="uncached" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<circle cx="2.5" cy="2.5" r="1.1" class="f-ink" opacity="0.6"/></pattern></defs>\n'
)
