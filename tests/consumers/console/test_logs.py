"""What the end of a log tells, and what it does not."""

from __future__ import annotations

from pathlib import Path

from consumers.console import logs
from streams import settings


def test_no_secret_is_told_not_even_half_of_one(tmp_path: Path) -> None:
    token, key = "token-of-the-console", "key/of a vendor"
    config = settings.load({}, home=str(tmp_path), console_token=token, alpaca_key=key)
    path = config.state / "logs" / "produce.log"
    path.parent.mkdir(parents=True)
    rest = f"\nopen /#token={token}\nasked for /?key={key} and /?key=key%2Fof%20a%20vendor\n".ljust(logs.TAIL_BYTES - 9, ".")
    path.write_text(f"open /#token={token}{rest}")
    lines = logs.tail(config, "produce")
    assert lines[0] == "open /#token=(token)"
    assert lines[1] == "asked for /?key=(secret) and /?key=(secret)"
    assert "console" not in "".join(lines)
