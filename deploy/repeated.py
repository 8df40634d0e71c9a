"""Whether anything of a tape that has ended came twice into the topics that the engine reads.

A tape of files repeats nothing by itself. What could is a producer or a sentiment role that is killed, or loses its place in its
group, between sending and knowing that it has sent. So a replay at full speed looks for it once, at its end.
"""

from __future__ import annotations

from contextlib import suppress

from producers import resume
from streams import bus, codec
from streams.errors import BadMessage
from streams.messages import Sentiment
from streams.settings import Settings


def has_repeats(settings: Settings, tape: str) -> bool:
    """Return whether a record of the tape named `tape`, or what was made of its headlines, is in its topic more than once.

    The topics are the namespace's, and hold nothing else: a partition with more records than the number of its last one has some
    twice.
    """
    return resume.numbers(settings, tape) != resume.sent(settings, resume.TOPICS) or _has_repeated_sentiment(settings)


def _has_repeated_sentiment(settings: Settings) -> bool:
    closed_us: dict[tuple[str, int], int] = {}
    scored: set[int] = set()  # hashes: two that are equal by chance cost another run, no more
    for record in bus.read_all(settings, "sentiment"):
        with suppress(BadMessage):  # the engine takes none of it either
            said = codec.decode(Sentiment, record.value)
            if said.closes:  # one partition's come in the order of their minutes
                place = (said.symbol, said.partition)
                if closed_us.get(place, -1) >= said.clock_ts_us:
                    return True
                closed_us[place] = said.clock_ts_us
            else:
                identity = hash((said.symbol, said.headline_id, said.model_id))
                if identity in scored:
                    return True
                scored.add(identity)
    return False
