"""The configuration file: what it means, and that every mistake is told with its place."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, load


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "homeward.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_configured_opens_the_listener_on_the_loopback_address() -> None:
    config = load(None)
    assert config.listener is not None
    assert (config.listener.host, config.web.host) == ("127.0.0.1", "127.0.0.1")
    assert (config.broker, config.bluetooth, config.influxdb) == (None, None, None)


def test_a_broker_needs_no_listener_beside_it(tmp_path: Path) -> None:
    assert load(written(tmp_path, '[broker]\nhost = "mqtt.clinic"\n')).listener is None


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    assert load(written(tmp_path, 'data = "d"\n')).data == tmp_path / "d"


def test_secrets_come_from_files_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n", encoding="utf-8")
    config = load(written(tmp_path, '[web]\nhost = "0.0.0.0"\ntoken = "file:token"\n'))
    assert config.web.token is not None
    assert config.web.token.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[web\n", "not TOML: .*line 1"),
        ("[web]\nprot = 1\n", r"\[web\] prot: unknown key; did you mean port\?"),
        ("nonsense = 1\n", "nonsense: unknown key; known are data"),
        ("[web]\nport = 70000\n", r"\[web\] port: .*65535, found 70000"),
        ('[web]\nhost = "0.0.0.0"\n', r"\[web\]: .*set a token"),
        ('[listener]\nhost = "0.0.0.0"\n', "give each device a login"),
        ('[listener]\ntls_key = "k"\n', "go together"),
        ('[clinic]\nzone = "Mars/One"\n', r"\[clinic\] zone: 'Mars/One' is no time zone"),
        ('[broker]\nhost = "h"\nversion = "4"\n', r"\[broker\] version"),
        ('[influxdb]\nurl = "http://i"\ntoken = "t"\n', r"\[influxdb\] bucket: it is missing"),
        ('[influxdb]\nurl = "http://i"\nbucket = "b"\ntoken = "file:none"\n', "secret cannot be read"),
        ('[email]\nhost = "h"\nsender = "a@b"\nrecipients = []\n', r"\[email\] recipients"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(written(tmp_path, text))


def test_a_secret_of_the_wrong_kind_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "[web]\ntoken = 123456\n"))
    assert "123456" not in str(caught.value)


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "[web]\nprot = 1\nport = -1\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_the_example_in_the_documentation_is_valid() -> None:
    example = Path(__file__).parents[2] / "docs" / "homeward.example.toml"
    assert isinstance(load(example), Config)
