"""What is done to a text before a model reads it, and nothing more: models were trained on text as it is published."""

from __future__ import annotations

import html
import re

MAX_CHARACTERS = 8_192  # more than 512 tokens of any real text; a body of megabytes is cut before anything looks at it

_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--[^<>]*-->")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def clean(text: str) -> str:
    r"""Return `text` without markup and control characters, cut to `MAX_CHARACTERS`; empty where it says nothing.

    A text says something when it has at least one letter or digit, of any script.

    >>> clean("<b>Profit</b>\x00 rose &amp; shone")
    'Profit rose & shone'
    >>> clean("🚀 !!")
    ''
    """
    unmarked = html.unescape(_TAG.sub(" ", text[: 2 * MAX_CHARACTERS]))
    whole = unmarked.encode(errors="replace").decode()  # half a surrogate pair is no text, and tokenizers refuse it
    plain = _BLANK.sub(" ", whole).strip()[:MAX_CHARACTERS]
    return plain if any(map(str.isalnum, plain)) else ""
