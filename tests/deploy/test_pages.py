"""The address of the page: whose eyes see the token in it."""

from __future__ import annotations

import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deploy import pages
from streams import settings

TOKEN = "50% & more/of #it"


def test_a_token_of_any_letters_comes_whole(tmp_path: Path) -> None:
    address = pages.address(settings.load({}, home=str(tmp_path), console_token=TOKEN))
    name, _, token = urlsplit(address).fragment.partition("=")
    assert (name, unquote(token)) == ("token", TOKEN)
    assert "&" not in token


def test_a_browser_is_not_given_the_token_as_an_argument(tmp_path: Path) -> None:
    config = settings.load({}, home=str(tmp_path), console_token="secret-token")
    opened: list[str] = []
    pages.show(config, opened.append)
    pages.show(config, opened.append)
    assert opened[0].startswith("file:///") and "secret" not in opened[0]
    file = Path(unquote(urlsplit(opened[0]).path))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert pages.address(config) in file.read_text()
