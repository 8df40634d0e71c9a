"""How often the files of tapes are looked at."""

from __future__ import annotations

from pathlib import Path

from deploy.tapes import LOOK_EVERY_S, HomeTapes
from streams import settings

ROW = "1340285400000000,A,1,{size}\n"


def write(tape: Path, sizes: range) -> None:
    """Write a tape with a trade of each size."""
    tape.mkdir(parents=True, exist_ok=True)
    (tape / "ticks.csv").write_text("event_ts_us,symbol,price,size\n" + "".join(ROW.format(size=size) for size in sizes))


def test_files_are_walked_once_in_a_while_but_a_new_tape_is_there_at_once(tmp_path: Path) -> None:
    config = settings.load({}, home=tmp_path)
    now_s = [1_000.0]
    known = HomeTapes(config, lambda: now_s[0])
    write(tmp_path / "tapes" / "one", range(1))
    (first,) = known.listed()
    write(tmp_path / "tapes" / "one", range(9))
    write(tmp_path / "tapes" / "two", range(1))
    now_s[0] += LOOK_EVERY_S - 1
    assert [(tape.name, tape.bytes) for tape in known.listed()] == [("one", first.bytes), ("two", first.bytes)]
    now_s[0] += 1
    sizes = {path.parent.name: path.stat().st_size for path in (tmp_path / "tapes").glob("*/ticks.csv")}
    assert sizes["one"] > first.bytes
    assert {tape.name: tape.bytes for tape in known.listed()} == sizes
    (tmp_path / "tapes" / "two" / "ticks.csv").unlink()
    (tmp_path / "tapes" / "two").rmdir()
    assert [tape.name for tape in known.listed()] == ["one"]
