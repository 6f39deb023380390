"""The configuration file: what it means, and that every mistake is told with its place."""

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from alerts.alert import Audience
from gateway.config import Config, ConfigError, Section, load

EXAMPLE = Path(__file__).parents[2] / "docs" / "homeward.example.toml"


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
        (
            '[email]\nhost = "h"\nsender = "a@b"\nrecipients = ["c@d", "e@f", "C@d"]\n',
            "C@d and c@d would get .* twice",
        ),
        ('[web]\nhost = "0.0.0.0"\ntoken = ""\n', r"\[web\] token: the secret is empty"),
        ('[web]\nhost = "0.0.0.0"\ntoken = "file:empty"\n', r"\[web\] token: the secret is empty"),
        ('[web]\ntoken = "file:\\u0000"\n', r"\[web\] token: the secret cannot be read"),
        ('[web]\ntoken = "file:octets"\n', "it is not UTF-8 text$"),
        ('[listener]\nlogins = {m = ""}\n', r"\[listener.logins\] m: the secret is empty"),
        ('[listener]\nlogins = {m = " "}\n', r"\[listener.logins\] m: the secret is empty"),
        ('[broker]\nhost = "h"\npassword = ""\n', r"\[broker\] password: the secret is empty"),
        ('[web]\ntoken = "päss"\n', r"\[web\] token: .*printable ASCII"),
        ('[influxdb]\nurl = "http://i"\nbucket = "b"\ntoken = "ключ"\n', r"\[influxdb\] token: .*printable ASCII"),
        ('[webhook]\nurl = "http://h"\ntoken = "a\\r\\nb"\n', r"\[webhook\] token: .*printable ASCII"),
        ('[webhook]\nurl = "http://h"\ntoken = "a "\n', r"\[webhook\] token: .*without a blank"),
        ('[webhook]\nurl = "chat.clinic/hook"\n', r"\[webhook\] url: it is no web address; write http"),
        ('[webhook]\nurl = "ftp://h"\n', r"\[webhook\] url: it is no web address"),
        ('[heartbeat]\nurl = "hc-ping.com/s3cret"\n', r"\[heartbeat\] url: it is no web address; write http[^3]*$"),
        ('[webhook]\nurl = "http://"\n', r"\[webhook\] url: it is no web address"),
        ('[webhook]\nurl = "http://h:x/"\n', r"\[webhook\] url: it is no web address"),
        (
            '[influxdb]\nurl = "127.0.0.1:8086"\ntoken = "t"\nbucket = "b"\n',
            r"\[influxdb\] url: it is no web address",
        ),
        ('[web]\nbase_url = "homeward.clinic"\n', r"\[web\] base_url: it is no web address"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    (tmp_path / "octets").write_bytes(b"s3cret\xff")
    with pytest.raises(ConfigError, match=says):
        load(written(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "[web]\ntoken = 123456\n",
        "[web]\ntoken = [123456]\n",
        '[web]\ntoken = "123456é"\n',
        "[web.token]\nx = 123456\n",
        "[listener]\nlogins = 123456\n",
        "[listener.logins]\nm = 123456\n",
        '[listener.logins]\nm = ["123456"]\n',
        "[broker]\nhost = 'h'\npassword = 123456\n",
        "[broker]\nhost = 'h'\npasword = '123456'\n",
        "[webhook]\nurl = 'https:/m:123456@h'\n",
        "[webhook]\nurl = 'https://m:123456@h:x'\n",
        "[webhook]\nurl = 'https://m:x123456'\n",
    ],
)
def test_a_secret_in_the_wrong_place_or_form_is_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    assert "123456" not in str(caught.value)
    # A traceback would show this one as well.
    assert "123456" not in str(caught.value.__cause__)


def test_the_guard_knows_the_token_and_the_names_under_which_the_page_is_reached() -> None:
    plain = Config.model_validate({"web": {}}).web.guard()
    assert (plain.token, plain.host_names) == (None, {"127.0.0.1"})
    named = Config.model_validate(
        {"web": {"host": "::1", "token": "t", "base_url": "https://Ward.Clinic:444/x"}}
    ).web.guard()
    assert (named.token, named.host_names) == ("t", {"::1", "ward.clinic"})


async def test_a_login_is_this_device_with_its_password() -> None:
    listener = Config.model_validate({"listener": {"logins": {"m": "s3cret"}}}).listener
    assert listener is not None
    assert await listener.admits("m", b"s3cret")
    for device, password in (("m", b""), ("m", b"s3cre"), ("n", b"s3cret"), ("n", b""), ("", b"")):
        assert not await listener.admits(device, password)
    with pytest.raises(ValidationError, match="the secret is empty"):
        Config.model_validate({"listener": {"logins": {"m": ""}}})


async def test_a_home_post_logs_in_like_a_device() -> None:
    listener = Config.model_validate({"listener": {"posts": {"home": "s3cret"}}}).listener
    assert listener is not None
    assert await listener.admits("home", b"s3cret")
    assert not await listener.admits("home", b"")
    for posts, said in (({"m": "x"}, "m cannot be a device and a home post"), ({"a b": "x"}, "match pattern")):
        with pytest.raises(ValidationError, match=said):
            Config.model_validate({"listener": {"logins": {"m": "s"}, "posts": posts}})


def test_an_uplink_that_leaves_this_machine_is_encrypted() -> None:
    uplink = {"host": "hub.example", "post": "home", "password": "s3cret"}
    found = Config.model_validate({"uplink": uplink}).uplink
    assert found is not None
    assert (found.settings().port, found.settings().tls) == (8883, True)
    assert "s3cret" not in repr(found.settings())
    with pytest.raises(ValidationError, match="set tls = true"):
        Config.model_validate({"uplink": uplink | {"tls": False}})
    near = Config.model_validate({"uplink": uplink | {"host": "localhost", "tls": False}}).uplink
    assert near is not None
    assert near.settings().port == 1883


@pytest.mark.parametrize("who", [{"logins": {"m": "s3cret"}}, {"posts": {"home": "s3cret"}}])
def test_a_listener_that_other_machines_reach_is_encrypted_unless_it_is_said_that_it_need_not(
    who: dict[str, Any],
) -> None:
    reachable = {"host": "0.0.0.0", **who}
    with pytest.raises(ValidationError, match="set tls_certificate and tls_key, or unencrypted = true"):
        Config.model_validate({"listener": reachable})
    for said in ({"unencrypted": True}, {"tls_certificate": "c.pem", "tls_key": "k.pem"}):
        found = Config.model_validate({"listener": reachable | said}).listener
        assert found is not None
        assert found.settings().host == "0.0.0.0"


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "[web]\nprot = 1\nport = -1\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_the_example_in_the_documentation_is_valid() -> None:
    assert isinstance(load(EXAMPLE), Config)


def test_the_example_with_every_line_in_force_holds_every_key_and_is_valid(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^# (?=\[|[a-z][\w-]* = )", "", EXAMPLE.read_text(encoding="utf-8"))
    for file in re.findall('"file:(.+?)"', text):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        secret = "https://hc-ping.com/s3cret" if file.endswith("heartbeat") else "s3cret/{address}"
        (tmp_path / file).write_text(f"{secret}\n", encoding="utf-8")
    (tmp_path / "rules.toml").write_text('region = "china"\n', encoding="utf-8")
    load(written(tmp_path, text))
    found = tomllib.loads(text)
    assert found.keys() == Config.model_fields.keys()
    for name, field in Config.model_fields.items():
        for model in (field.annotation, *get_args(field.annotation)):
            if isinstance(model, type) and issubclass(model, Section):
                tables = found[name] if isinstance(found[name], list) else [found[name]]
                assert {key for table in tables for key in table} == model.model_fields.keys()


SMS = '[[channel]]\nname = "sms"\nkind = "apprise"\n'
STEP = '[[ladder]]\npriority = "low"\n[[ladder.step]]\nto = "nurse"\n'


def test_channels_to_persons_and_ladders_are_read(tmp_path: Path) -> None:
    (tmp_path / "sms").write_text("json://host/{address}\n", encoding="utf-8")
    text = f'{SMS}url = "file:sms"\nreaches = ["staff"]\n{STEP}after = "1 h"\nchannel = "sms"\n'
    config = load(written(tmp_path, text))
    (channel,) = config.personal_channels()
    assert (channel.name, channel.trusted, channel.reaches) == ("sms", False, {Audience.STAFF})
    (ladder,) = config.ladders()
    assert (ladder.steps[0].after, ladder.steps[0].channel) == (timedelta(hours=1), "sms")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SMS, r"\[\[channel\]\] 1: kind apprise needs a url; write where the messages go"),
        (f'{SMS}url = "json://secret/x"\n', r"write \{address\} there"),
        (f'{SMS}url = "json://s/{{address}}"\n' * 2, "two \\[\\[channel\\]\\] have the name sms"),
        (f'{SMS}url = "json://s/{{address}}"\ntoken = "t"\n', "kind apprise takes no token"),
        ('[[channel]]\nname = "log"\nkind = "webhook"\nurl = "http://h/"\n', "cannot have the name log"),
        ('[[channel]]\nname = "app"\nkind = "webhook"\nurl = "ftp://secret/"\n', "it is no web address"),
        ('[[channel]]\nname = "m"\nkind = "mail"\n', r"goes through the server of \[email\]; add that section"),
        ('[[channel]]\nname = "m"\nkind = "mail"\nurl = "http://secret"\n', "kind mail takes no url"),
        ('[[channel]]\nname = "M M"\nkind = "mail"\n', r"\[\[channel\]\] 1 name"),
        ('[[channel]]\nname = "m"\nkind = "fax"\n', r"\[\[channel\]\] 1 kind: .*'apprise'"),
        ('[[channel]]\nname = "m"\nkind = "mail"\nreaches = []\n', r"\[\[channel\]\] 1 reaches"),
        (f'{STEP}after = "1"\n', "ladder: ladder 1, step 1: after is '1'; write a whole number with its unit"),
        (f'{STEP}after = "1 h"\nchannel = "fax"\n', r"a \[\[ladder\]\] names the channel fax; add a \[\[channel\]\]"),
    ],
)
def test_a_channel_or_ladder_that_cannot_be_used_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        load(written(tmp_path, text))
    assert "secret" not in str(refused.value)
