"""JSON in Spark, as strict as `streams/codec.py`: the two must not differ about which message is good.

Spark's own decoder takes a number for a text and a null for an absent field, and stops reading behind the first value.
"""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column
from pyspark.sql import functions as F

_OPTIONS = {"columnNameOfCorruptRecord": "corrupt", "allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
# An escaped half of a surrogate pair without the other half: no text has it, and Spark would read a question mark.
_HALF_PAIR = r"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]"


def decode(text: Column, schema: str) -> Column:
    """Return what `text` holds: a struct of `corrupt` (text or null) and `messages` (the fields of `schema` first).

    The message is framed in a list with one more element behind it, so that whatever trails it breaks the frame.
    """
    nested = ", ".join(f"{name}: {kind}" for name, kind in _fields(schema))
    framed = F.concat(F.lit('{"messages": ['), text, F.lit(", {}]}"))
    return F.from_json(framed, f"messages array<struct<{nested}>>, corrupt string", _OPTIONS)


def is_broken(text: Column, decoded: Column, schema: str) -> Column:
    """Return whether `text`, of which :func:`decode` made `decoded`, is not one object whose fields are of their types."""
    fits = decoded["corrupt"].isNull() & (F.size(decoded["messages"]) == 2)
    suspect = _may_be_suspect(text, schema) & text.rlike(_suspect(schema))
    return ~F.coalesce(fits, F.lit(False)) | F.when(suspect, _is_loose(text, schema)).otherwise(False)


def is_json(text: Column) -> Column:
    """Return whether `text` begins with a JSON value."""
    return F.try_parse_json(text).isNotNull()


def _fields(schema: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind in (field.split() for field in schema.split(", "))]


def _suspect(schema: str) -> str:
    """Return a pattern, quick to search, for messages that are worth the slow and exact look of :func:`_is_loose`."""
    texts = "|".join(name for name, kind in _fields(schema) if kind == "string")
    names = "|".join(name for name, _ in _fields(schema))
    return rf'"(?:{texts})"\s*:\s*[^"\s]|"(?:{names})"\s*:\s*n|\\u[dD][89a-fA-F]'


def _may_be_suspect(text: Column, schema: str) -> Column:
    """Return whether `text` can match :func:`_suspect`, in half the pattern's time: hardly any message does.

    It cannot without an escape, a null, or a text field that is not written `"name":"…`. What is searched for begins with a
    letter, because Spark compares at each place that begins alike, and quotes are many.
    """
    opened = [f'{name}"' for name, kind in _fields(schema) if kind == "string"]
    rest = reduce(lambda left, name: F.replace(left, F.lit(f'{name}:"'), F.lit(" ")), opened, text)
    return reduce(Column.__or__, [F.contains(rest, F.lit(sign)) for sign in ("\\u", "null", *opened)])


def _is_loose(text: Column, schema: str) -> Column:
    value = F.try_parse_json(text)
    wrong = [F.regexp_like(F.replace(text, F.lit("\\\\"), F.lit("  ")), F.lit(_HALF_PAIR))]
    for name, kind in _fields(schema):
        found = F.schema_of_variant(F.variant_get(value, f"$.{name}", "variant"))
        wrong.append(F.coalesce(found != "STRING" if kind == "string" else found == "VOID", F.lit(False)))
    return value.isNull() | reduce(Column.__or__, wrong)
