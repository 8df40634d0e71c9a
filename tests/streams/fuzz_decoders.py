"""A coverage-guided fuzz of the decoder, a program of its own since libFuzzer ends the process that it runs in.

`python -m tests.streams.fuzz_decoders SECONDS` starts from one good message of each kind and exits with libFuzzer's code: 0
where every input was either refused as a :class:`BadMessage` of a known class or decoded to what encodes to itself again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["streams.codec", "streams.errors", "json"]):
    from streams import codec
    from streams.errors import BadMessage

from tests.streams.strategies import SAMPLES

KINDS = tuple(SAMPLES)
CLASSES = {"not_json", "contract", "no_value"}


def one(data: bytes) -> None:
    """Decode the bytes behind the first as the kind that the first names."""
    kind, value = KINDS[data[0] % len(KINDS)] if data else KINDS[0], data[1:]
    try:
        message = codec.decode(kind, value)
    except BadMessage as error:
        if error.error_class not in CLASSES or not str(error):
            raise AssertionError(f"{error.error_class!r} is no class of a dead letter") from error
        return
    if not isinstance(json.loads(value), dict):
        raise AssertionError("what is no JSON object was taken")
    again = codec.encode(message)
    if codec.decode(kind, again) != message or codec.encode(codec.decode(kind, again)) != again:
        raise AssertionError("a message changes on its way through bytes")


def main(seconds: int) -> None:
    """Fuzz for so long. Does not return: libFuzzer exits."""
    with tempfile.TemporaryDirectory() as folder:
        for at, sample in enumerate(SAMPLES.values()):
            (Path(folder) / str(at)).write_bytes(bytes([at]) + codec.encode(sample))
        # no limit of memory: the system tells libFuzzer the peak of whoever started it, a suite with all libraries loaded
        limits = [f"-max_total_time={seconds}", "-max_len=2048", "-rss_limit_mb=0"]
        atheris.Setup([sys.argv[0], *limits, "-print_final_stats=1", folder], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]))
