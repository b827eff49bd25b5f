"""Figures inside the page: SVG that follows the page's colours and fonts, small, and read out by screen readers."""

from __future__ import annotations

import base64
import io
import re
from html import escape

from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ..figures import encoder_styles, style
from ..figures.pictures import UNREADABLE

INKS = {
    style.INK: "--ink",
    style.MUTED: "--muted",
    style.GRID: "--grid",
    style.ACCENT: "--accent",
    encoder_styles.PAPER: "--paper",
}
"""Colours of figures that are variables of the page."""

SCALE = 1.75
"""CSS pixels on a wide screen for one point of a figure: small print on paper, text size on a page."""

_DARK_GROUND = "#15181d"
_LEGIBLE = 4.0
_TAG = re.compile(r"<[^>]*>")
"""Matplotlib escapes the brackets inside attributes; what stands between tags are names, which stay as they are."""
_NUMBERS = re.compile(r"(-?\d+\.\d\d)\d+")


def inline(figure: Figure, key: str, title: str, description: str) -> str:
    """Return an ``<svg>`` element of a figure.

    Args:
        figure: drawn and laid out.
        key: unlike any other's on the page; every id begins with it.
        title: its name, for screen readers.
        description: what it shows, in words.
    """
    text = style.svg(figure)
    text = text[text.index("<svg") :]
    text = re.sub(
        r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*|<!--.*?-->\s*|<path d=\"[^\"]*\" style=\"fill: none\"/>\s*",
        "",
        text,
        flags=re.DOTALL,
    )
    text = text.replace("xlink:href", "href")
    text = re.sub(r"<defs>\s*</defs>\s*| transform=\"rotate\(-?0 [^\"]*\"", "", text)
    text = re.sub(r"<pattern (id=\"[^\"]+\").*?</pattern>", _small_pattern, text, flags=re.DOTALL)
    text = re.sub(r'(?<=data:)image/png;base64,([^"]+)', _as_jpeg, text)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", "".join(_TAG.findall(text))))
    text = _TAG.sub(lambda found: _own_tag(found[0], key, used), text)
    text = _without_empty_groups(re.sub(r"\s*\n\s*", "\n", text))
    names = f"<title id='{key}-title'>{escape(title)}</title><desc id='{key}-desc'>{escape(description)}</desc>"
    width, height = (72 * inches for inches in figure.get_size_inches())
    opening = (
        f'<svg class="figure" role="img" aria-labelledby="{key}-title {key}-desc" viewBox="0 0 {width:g} {height:g}" '
        f'style="--width: {SCALE * width:.0f}px">'
    )
    return re.sub(r"<svg[^>]*>", lambda _: opening + names, text, count=1).strip()


def dark_colours() -> str:
    """Return CSS declarations that lift the colours of encoders which would drown in a dark page."""
    known = {encoder_style.colour for encoder_style in encoder_styles.KNOWN.values()} | set(
        encoder_styles.OTHER_COLOURS
    )
    lifted = {colour: _lift(colour) for colour in sorted(known)}
    return " ".join(f"{_variable(colour)}: {light};" for colour, light in lifted.items() if light != colour)


def _as_jpeg(found: re.Match[str]) -> str:
    """Return the same picture as a JPEG where it is opaque and gets smaller by it."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(found[1]))) as picture:
            opaque = picture.mode == "RGB" or picture.convert("RGBA").getchannel("A").getextrema()[0] == 255
            buffer = io.BytesIO()
            picture.convert("RGB").save(buffer, "JPEG", quality=82, optimize=True)
    except UNREADABLE:
        return found[0]
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f"image/jpeg;base64,{encoded}" if opaque and len(encoded) < len(found[1]) else found[0]


def _small_pattern(found: re.Match[str]) -> str:
    """Return a tile of four points with one stripe or dot, for matplotlib's of 72 points with hundreds."""
    rect, path = re.findall(r"<(?:rect|path)[^>]*>", found[0])[:2]
    ground, ink = (re.search(r"(?:fill|stroke)(?:: |=\")(#\w{6})", part) for part in (rect, path))
    if ground is None or ink is None:
        return found[0]
    dots = "C" in path
    shape = (
        f'<circle cx="2" cy="2" r="0.7" style="fill: {ink[1]}"/>'
        if dots
        else f'<path d="M0 0V4" style="stroke: {ink[1]}"/>'
    )
    return (
        f'<pattern {found[1]} width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="4" height="4" style="fill: {ground[1]}"/>{shape}</pattern>'
    )


def _without_empty_groups(text: str) -> str:
    """Return groups without attributes do nothing; their contents stay."""
    kept: list[bool] = []

    def visit(found: re.Match[str]) -> str:
        tag = found[0]
        if tag == "<g/>":
            return ""
        if tag == "</g>":
            return tag if kept.pop() else ""
        kept.append(tag != "<g>")
        return tag if kept[-1] else ""

    return re.sub(r"\n+", "\n", re.sub(r"<g(?: [^>]*)?>|<g/>|</g>", visit, text))


def _without_family(found: re.Match[str]) -> str:
    return f"font-size: {found[1]}" if found[1] else ""


def _own_tag(tag: str, key: str, used: set[str]) -> str:
    """Return a tag with short numbers and the page's font and colours; `used` ids get the figure's key in front.

    The other ids go.
    """
    tag = re.sub(r'( d=| x=| y=|transform="translate)("|\()[^")]*', lambda found: _NUMBERS.sub(r"\1", found[0]), tag)
    tag = re.sub(r"font: ([\d.]+px)[^;\"]*|font-family: [^;\"]*;?", _without_family, tag)
    tag = re.sub(r' id="([^"]+)"', lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", tag)
    tag = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{key}-", tag)
    return re.sub(r"#[0-9a-f]{6}\b", _as_variable, tag)


def _as_variable(found: re.Match[str]) -> str:
    colour = found[0]
    if colour in INKS:
        return f"var({INKS[colour]})"
    return f"var({_variable(colour)}, {colour})" if _lift(colour) != colour else colour


def _variable(colour: str) -> str:
    return f"--c-{colour[1:]}"


def _lift(colour: str) -> str:
    """Return the colour mixed with white until it can be told from a dark ground."""
    lifted = colour
    for step in range(1, 20):
        if _contrast(lifted, _DARK_GROUND) >= _LEGIBLE:
            break
        lifted = encoder_styles.tint(colour, 0.05 * step)
    return lifted


def _contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours. Source: WCAG 2.2, relative luminance."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(to_hex(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
