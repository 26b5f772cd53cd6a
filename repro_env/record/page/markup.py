"""HTML and SVG as nested calls. What is not marked as markup is text, and is escaped: no text can become an element.

Source: https://html.spec.whatwg.org/multipage/syntax.html
"""

from __future__ import annotations

import html

from repro_env.record.words import visible


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Return a text as HTML shows it, in lines where it has them, and markup as it is."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape("\n".join(map(visible, text.split("\n")))))


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """Return an element. Attributes that are None or empty are left out.

    A trailing underscore of an attribute's name is not part of it (`class_`), others are hyphens (`aria_label`).
    """
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    words = "".join(f' {name}="{escape(_number(value))}"' for name, value in names.items() if value not in {None, ""})
    return Markup(f"<{tag}{words}>{joined(*children)}</{tag}>")


def joined(*parts: str) -> Markup:
    """Return parts one after the other, each escaped unless it is markup."""
    return Markup("".join(map(escape, parts)))


def _number(value: str | float | None) -> str:
    """Return an attribute's value; a number in as few digits as a picture needs."""
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
