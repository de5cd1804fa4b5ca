"""Putting SVG figures into a page: a run folder may come from anyone, and ids must not clash."""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.etree import ElementTree

from ndm_apps.report.figures import EDGE, GRID, INK, PALETTE, PAPER, SOFT, TITLE

SVG = "http://www.w3.org/2000/svg"
XLINK = "{http://www.w3.org/1999/xlink}href"
# What drawings need; scripts, foreign content, animations, links, style sheets and metadata are not among it.
ELEMENTS = frozenset(
    "svg g defs path use text tspan rect circle ellipse line polyline polygon clipPath mask image linearGradient "
    "radialGradient stop marker pattern symbol title desc".split()
)
ATTRIBUTES = frozenset(
    "id d x y x1 y1 x2 y2 cx cy r rx ry dx dy width height viewBox transform points offset fill stroke opacity style "
    "clip-path clip-rule fill-rule fill-opacity stroke-width stroke-opacity stroke-linecap stroke-linejoin "
    "stroke-dasharray stroke-dashoffset stroke-miterlimit stop-color stop-opacity text-anchor dominant-baseline "
    "font-size font-family font-weight font-style gradientUnits gradientTransform patternUnits clipPathUnits "
    "markerWidth markerHeight refX refY orient preserveAspectRatio mask marker-start marker-mid marker-end "
    "xml:space".split()
)
REFERENCE = re.compile(r"url\(\s*['\"]?#([^)'\"]*)['\"]?\s*\)")
PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=\s]*")

# Colours of the shared style, and the page's own, which change in the dark.
THEME = {PAPER: "paper", INK: "fig-ink", TITLE: "fig-ink", SOFT: "fig-soft", EDGE: "edge", GRID: "grid"}
THEME |= {color.lower(): f"c{number}" for number, color in enumerate(PALETTE)}
COLOR = re.compile("|".join(THEME))
STROKE, COLORED = re.compile(r"stroke: (#[0-9a-f]{6})"), re.compile(r": (#[0-9a-f]{6})")
MARKER = re.compile(r"<use [^>]*>")
DARK = 0.04  # luminance of a line that has little contrast with a dark page
COORDINATES = frozenset({"d", "points", "x", "y", "cx", "cy"})
LONG_NUMBER = re.compile(r"-?[0-9]*\.[0-9]{3,}")

ElementTree.register_namespace("", SVG)


class Inlined(NamedTuple):
    """A drawing as markup, its width in points, and whether its colours are those of the page."""

    markup: str
    width: float
    is_themed: bool


def inline_svg(text: str, prefix: str, alternative: str) -> Inlined:
    """Return an SVG drawing as an element for an HTML page.

    Only drawing elements and attributes are kept, references outside the drawing are dropped, and every id gets a
    prefix. Coordinates are rounded to a hundredth. A drawing of the shared style takes its colours from the page,
    unless it has lines that would be lost in the dark.

    Parameters
    ----------
    text
        Content of an SVG file.
    prefix
        Text before every id, unique on the page.
    alternative
        What the drawing shows, for those who cannot see it.

    Returns
    -------
    Inlined
        Markup of one ``svg`` element that scales with the page.

    Raises
    ------
    ValueError
        If the text is no SVG document, or declares entities.
    """
    if "<!ENTITY" in text:
        raise ValueError("the figure declares XML entities, which drawings do not need")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"the figure is not an SVG document: {error}") from None
    if root.tag != f"{{{SVG}}}svg":
        raise ValueError(f"the figure is not an SVG document: its root is {root.tag!r}")
    width = re.match(r"[0-9]+(\.[0-9]+)?", root.get("width", ""))
    is_themed = f"fill: {PAPER}" in text and _is_seen_in_the_dark(text)
    _clean(root, prefix, is_themed)
    for name in ("width", "height", "x", "y", "id"):
        root.attrib.pop(name, None)
    # Matplotlib says this in a style sheet, which would reach the whole page.
    # On a phone a wide drawing scrolls rather than becoming too small to read.
    size = f";max-width:{width[0]}pt;min-width:{0.7 * float(width[0]):.0f}pt" if width else ""
    root.set("style", f"stroke-linejoin:round;stroke-linecap:butt{size}")
    root.set("role", "img")
    root.set("aria-label", alternative)
    markup = re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode"))
    return Inlined(markup, float(width[0]) if width else 0.0, is_themed)


def _clean(element: ElementTree.Element, prefix: str, is_themed: bool) -> None:
    for child in list(element):
        if not isinstance(child.tag, str) or child.tag.removeprefix(f"{{{SVG}}}") not in ELEMENTS:
            element.remove(child)
        else:
            _clean(child, prefix, is_themed)
    target = element.get("href") or element.get(XLINK) or ""
    is_picture = element.tag == f"{{{SVG}}}image" and PICTURE.fullmatch(target)
    for name, value in list(element.attrib.items()):
        kept = _reference(value, prefix)
        if name not in ATTRIBUTES or kept is None:
            del element.attrib[name]
        elif name in COORDINATES:
            element.set(name, _rounded(kept))
        elif is_themed and name in ("style", "fill", "stroke"):
            element.set(name, COLOR.sub(lambda match: f"var(--{THEME[match[0]]})", kept))
        else:
            element.set(name, f"{prefix}{value}" if name == "id" else kept)
    if target.startswith("#"):
        element.set("href", f"#{prefix}{target[1:]}")
    elif is_picture:
        element.set("href", target)


def _reference(value: str, prefix: str) -> str | None:
    """Return an attribute with its local references prefixed; None if it refers to anything else."""
    rest = REFERENCE.sub("", value)
    # A backslash could spell url( or a scheme in CSS escapes; a semicolon-free drawing attribute never holds one.
    if re.search(r"url\s*\(|[\\@]|expression|javascript:|//", rest, re.IGNORECASE):
        return None
    return REFERENCE.sub(lambda match: f"url(#{prefix}{match[1]})", value)


def _is_seen_in_the_dark(text: str) -> bool:
    """Whether no line or marker of a drawing, apart from those of the shared style, is as dark as a dark page."""
    colors = {*STROKE.findall(text), *COLORED.findall(" ".join(MARKER.findall(text)))}
    return all(_luminance(color) > DARK for color in colors - set(THEME))


def _luminance(color: str) -> float:
    """Return the relative luminance of a colour, as WCAG 2 defines it.

    >>> round(_luminance("#ffffff"), 6), _luminance("#000000")
    (1.0, 0.0)
    """
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _rounded(coordinates: str) -> str:
    """Return coordinates to a hundredth of their unit, which no screen shows.

    >>> _rounded("M 58.542221 169.225395 L 0 -3.5")
    'M 58.54 169.23 L 0 -3.5'
    """
    return LONG_NUMBER.sub(
        lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), coordinates.replace("\n", "")
    )
