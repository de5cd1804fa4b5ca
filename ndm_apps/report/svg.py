"""Putting SVG figures into a page: a run folder may come from anyone, and ids must not clash."""

from __future__ import annotations

import re
from xml.etree import ElementTree

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

ElementTree.register_namespace("", SVG)


def inline_svg(text: str, prefix: str, alternative: str) -> str:
    """Return an SVG drawing as an element for an HTML page.

    Only drawing elements and attributes are kept, references outside the drawing are dropped, and every id gets a
    prefix.

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
    str
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
    _clean(root, prefix)
    for name in ("width", "height", "x", "y", "id"):
        root.attrib.pop(name, None)
    # Matplotlib says this in a style sheet, which would reach the whole page.
    # On a phone a wide drawing scrolls rather than becoming too small to read.
    size = f";max-width:{width[0]}pt;min-width:{0.7 * float(width[0]):.0f}pt" if width else ""
    root.set("style", f"stroke-linejoin:round;stroke-linecap:butt{size}")
    root.set("role", "img")
    root.set("aria-label", alternative)
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element, prefix: str) -> None:
    for child in list(element):
        if not isinstance(child.tag, str) or child.tag.removeprefix(f"{{{SVG}}}") not in ELEMENTS:
            element.remove(child)
        else:
            _clean(child, prefix)
    target = element.get("href") or element.get(XLINK) or ""
    is_picture = element.tag == f"{{{SVG}}}image" and PICTURE.fullmatch(target)
    for name, value in list(element.attrib.items()):
        kept = _reference(value, prefix)
        if name not in ATTRIBUTES or kept is None:
            del element.attrib[name]
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
