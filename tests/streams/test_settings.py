"""Settings: read once, strict about names and values, and handed on to other processes unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import settings
from streams.errors import SettingsError, UserError


def test_nothing_set_gives_the_defaults() -> None:
    config = settings.load({})
    assert config.home == Path(".tickcast")
    assert config.symbol_list == ("AAPL", "MSFT", "GOOGL", "AMZN", "TSLA", "META")
    assert (config.broker, config.console_port, config.partitions, config.engine) == ("", 8321, 2, "auto")
    assert config.cache.name == "tickcast"


@given(
    partitions=st.integers(1, 62),
    home=st.from_regex(r"/[a-z][a-z ]{0,9}[a-z]", fullmatch=True),
    offline=st.booleans(),
    engine=st.sampled_from(["auto", "realtime", "microbatch"]),
    topic_prefix=st.from_regex(r"[A-Za-z0-9._-]{0,9}", fullmatch=True),
)
def test_another_process_gets_these_same_settings(
    partitions: int, home: str, offline: bool, engine: str, topic_prefix: str
) -> None:
    config = settings.load({}, partitions=partitions, home=home, offline=offline, engine=engine, topic_prefix=topic_prefix)
    assert (config.partitions, config.home, config.offline, config.topic_prefix) == (
        partitions,
        Path(home),
        offline,
        topic_prefix,
    )
    assert settings.load(config.environment()) == config


def test_every_setting_can_be_set_by_its_variable() -> None:
    names = {settings.PREFIX + name.upper() for name in settings.Settings.__struct_fields__}
    assert set(settings.load({}).environment()) == names


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TICKCAST_PARTITION", "2"),
        ("TICKCAST_", "x"),
        ("TICKCAST_PARTITIONS", "many"),
        ("TICKCAST_PARTITIONS", "0"),
        ("TICKCAST_PARTITIONS", "63"),
        ("TICKCAST_PARTITIONS", ""),
        ("TICKCAST_ENGINE", "flink"),
        ("TICKCAST_OFFLINE", "perhaps"),
        ("TICKCAST_CONSOLE_PORT", "70000"),
        ("TICKCAST_TOPIC_PREFIX", "my topic"),
        ("TICKCAST_LATENESS_MIN", "-1"),
        ("TICKCAST_SENTIMENT", "bert"),
    ],
)
def test_an_unknown_setting_or_value_is_one_sentence_to_the_user(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load({name: value})
    assert isinstance(caught.value, UserError)
    said = str(caught.value)
    assert "\n" not in said
    assert name.removeprefix(settings.PREFIX).lower() in said
    assert "doctor --settings" in said


def test_variables_of_other_programs_are_theirs() -> None:
    assert settings.load({"PATH": "/bin", "SPARK_HOME": "/x", "TICKCASTLE": "1"}) == settings.load({})


def test_the_two_foreign_variables_are_honoured_and_ours_win() -> None:
    config = settings.load({"JAVA_HOME": "/java", "HF_HUB_OFFLINE": "1"})
    assert (config.java_home, config.offline) == ("/java", True)
    ours = {"JAVA_HOME": "/java", "TICKCAST_JAVA_HOME": "/other", "HF_HUB_OFFLINE": "1", "TICKCAST_OFFLINE": "0"}
    assert (settings.load(ours).java_home, settings.load(ours).offline) == ("/other", False)


def test_an_option_wins_over_the_environment_unless_it_was_not_given() -> None:
    assert settings.load({"TICKCAST_PARTITIONS": "3"}, partitions=5).partitions == 5
    assert settings.load({"TICKCAST_PARTITIONS": "3"}, partitions=None).partitions == 3


def test_a_home_below_the_users_own_is_expanded() -> None:
    assert settings.load({"TICKCAST_HOME": "~/lake"}).home == Path.home() / "lake"


def test_symbols_are_upper_case_and_named_once() -> None:
    assert settings.load({"TICKCAST_SYMBOLS": " msft,AAPL,, Msft "}).symbol_list == ("MSFT", "AAPL")


def test_names_of_topics_carry_the_prefix_and_lose_it_again() -> None:
    config = settings.load({"TICKCAST_TOPIC_PREFIX": "ticks."})
    assert config.topic("ticks") == "ticks.ticks"
    assert config.bare_topic(config.topic("ticks")) == "ticks"


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        settings.load({}).partitions = 9  # type: ignore[misc] # that is the point


def test_every_setting_says_what_it_is() -> None:
    hints = get_type_hints(settings.Settings, include_extras=True)
    assert all(hints[name].__metadata__[0].description for name in settings.Settings.__struct_fields__)


def test_a_secret_shows_itself_to_whoever_asks_for_it_and_to_nobody_else(tmp_path: Path) -> None:
    config = settings.load({"TICKCAST_ALPACA_KEY": "k-123"}, console_token="t-456")
    assert (config.alpaca_key.reveal(), config.console_token.reveal()) == ("k-123", "t-456")
    shown = f"{config} {config!r} {config.alpaca_key} {[config.alpaca_key]!r}"
    assert "k-123" not in shown
    assert "t-456" not in shown
    assert not config.alpaca_secret


def test_a_secret_may_be_kept_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k-123\n")
    config = settings.load({"TICKCAST_ALPACA_KEY_FILE": str(tmp_path / "key")})
    assert settings.load(config.environment()) == config
    assert config.alpaca_key.reveal() == "k-123"
    with pytest.raises(SettingsError, match="cannot be read: FileNotFoundError"):
        settings.load({"TICKCAST_ALPACA_KEY_FILE": str(tmp_path / "none")})
    with pytest.raises(SettingsError, match="are both set"):
        settings.load({"TICKCAST_ALPACA_KEY_FILE": str(tmp_path / "key"), "TICKCAST_ALPACA_KEY": "x"})
    with pytest.raises(SettingsError, match="symbols_file"):
        settings.load({"TICKCAST_SYMBOLS_FILE": str(tmp_path / "key")})


def test_settings_keep_the_secrets_that_are_named_and_lose_the_others_and_nothing_else() -> None:
    config = settings.load({}, alpaca_key="k", polygon_key="p", console_token="t", symbols="MSFT")
    kept = config.keeping(("polygon_key",))
    assert (kept.alpaca_key.reveal(), kept.polygon_key.reveal(), kept.console_token.reveal()) == ("", "p", "")
    assert kept == settings.load({}, polygon_key="p", symbols="MSFT")


def test_a_process_that_is_started_gets_the_secret_of_a_file_and_not_the_file_too(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("abc\n")
    environ = {"PATH": "/bin", "TICKCAST_ALPACA_KEY_FILE": str(tmp_path / "key")}
    config = settings.load(environ)
    inherited = config.inherited(environ)
    assert inherited["PATH"] == "/bin"
    assert settings.load(inherited) == config
    assert settings.load(inherited).alpaca_key.reveal() == "abc"
