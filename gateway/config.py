"""The configuration file: TOML, every key optional, every mistake told in a sentence with its place.

A section that stands in the file switches its part on. With no way in configured, the built-in MQTT listener opens on
the loopback address. A secret is written as `"file:PATH"` (relative to the configuration file) or as the text itself;
an empty one is a mistake, and no sentence about a mistake repeats a secret.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from alerts.alert import Audience
from alerts.channels import AppriseChannel, MailChannel, MailServer, PersonalChannel, WebhookChannel
from alerts.escalation import Ladder, read_ladders
from gateway.guard import WebSettings
from gateway.rule_file import load_rules
from ingest.influx import InfluxSettings
from ingest.links.broker import BrokerSettings
from ingest.links.listener import ListenerSettings
from ingest.links.topics import DEVICE_NAME, PREFIX
from ingest.links.uplink import UplinkSettings

_SECRETS: Final = frozenset({"token", "password", "logins", "posts", "url", "database"})
BOOK: Final = "hub.db"


class ConfigError(Exception):
    """The configuration cannot be used. One sentence a line: file, place, what is wrong, what to do."""


def _beside(path: Path, info: ValidationInfo) -> Path:
    """A relative path is meant beside the configuration file, wherever the program was started."""
    return (info.context or Path()) / path


def _secret(text: object, info: ValidationInfo) -> object:
    if not isinstance(text, str) or not text.startswith("file:"):
        return text
    path = _beside(Path(text.removeprefix("file:")), info)
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        # Its text would show the octet at which it stopped.
        raise ValueError(f"the secret cannot be read from {path}: it is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"the secret cannot be read from {path}: {error}") from error


def _not_empty(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().strip():
        raise ValueError("the secret is empty; write one, or take the key out")
    return secret


def _header_text(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not (text.isascii() and text.isprintable()) or text != text.strip():
        raise ValueError("it travels in an HTTP header; use printable ASCII characters without a blank at either end")
    return secret


def _web_address(text: str) -> str:
    # The address may hold a password or a key, so the sentence repeats nothing of it.
    mistake = ValueError("it is no web address; write http://HOST:PORT or https://HOST")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise mistake from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise mistake
    return text


def _postgresql(secret: SecretStr) -> SecretStr:
    # It holds a password, so the sentence repeats nothing of it.
    try:
        url = make_url(secret.get_secret_value())
    except ArgumentError:
        url = None
    if url is None or url.drivername != "postgresql+psycopg" or not url.database:
        raise ValueError(
            "it is no address of a PostgreSQL database; write postgresql+psycopg://USER:PASSWORD@HOST/DATABASE "
            "(in the password %40 for @, %2F for /), or take the section out: then it is a file in the data directory"
        )
    return secret


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; write one such as Asia/Shanghai or Europe/Berlin") from error
    return name


def _rules(path: Path) -> Path:
    load_rules(path)
    return path


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reachable from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


FilePath = Annotated[Path, AfterValidator(_beside)]
Secret = Annotated[SecretStr, BeforeValidator(_secret), AfterValidator(_not_empty)]
HeaderSecret = Annotated[Secret, AfterValidator(_header_text)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Port = Annotated[int, Field(ge=0, le=65535)]
DeviceName = Annotated[str, Field(pattern=rf"^{DEVICE_NAME.pattern}$")]


def _secret_address(url: SecretStr) -> SecretStr:
    _web_address(url.get_secret_value())
    return url


class Section(BaseModel):
    """A table of the file; a key it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Clinic(Section):
    """zone: of the clock on the pages, of a new patient unless another is given, of a device nobody wears.

    rules: the file with the clinic's own limits (docs/rules.md).
    """

    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    rules: Annotated[FilePath, AfterValidator(_rules)] | None = None


class Web(Section):
    """The API and the pages. Beyond the loopback address a token is demanded.

    base_url: how the links in notices begin, and a further name under which the pages are reached without a token.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    token: HeaderSecret | None = None
    base_url: WebAddress | None = None

    def guard(self) -> WebSettings:
        """For what stands before every request."""
        named = urlsplit(self.base_url).hostname if self.base_url else None  # lower case
        return WebSettings(
            token=None if self.token is None else self.token.get_secret_value(),
            host_names=frozenset(name for name in (self.host.lower(), named) if name),
        )

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(f"host {self.host} can be reached from other machines; set a token, or use 127.0.0.1")
        return self


class Listener(Section):
    """Homeward's own MQTT listener. With neither of the two nobody has to log in.

    logins: device name = password. posts: home post = password; it forwards packets of any device.
    unencrypted: whether other machines may reach it without TLS, for a network that nobody else listens to.
    """

    host: str = "127.0.0.1"
    port: Port = 1883
    tls_certificate: FilePath | None = None
    tls_key: FilePath | None = None
    unencrypted: bool = False
    logins: dict[str, Secret] = {}
    posts: dict[DeviceName, Secret] = {}

    def settings(self) -> ListenerSettings:
        """For the link."""
        return ListenerSettings(**self.model_dump(exclude={"logins", "posts", "unencrypted"}))

    async def admits(self, name: str, password: bytes) -> bool:
        """Whether this is the password of a device or post; takes the same time whether or not it is known."""
        known = self.logins.get(name) or self.posts.get(name)
        wanted = known.get_secret_value().encode() if known else b""
        return compare_digest(wanted, password) and known is not None

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together; give both or neither")
        if both := self.logins.keys() & self.posts.keys():
            raise ValueError(f"{min(both)} cannot be a device and a home post; choose another name for the post")
        if not (self.logins or self.posts) and not is_loopback(self.host):
            raise ValueError(f"host {self.host} can be reached from other machines; give each device a login")
        if self.tls_certificate is None and not self.unencrypted and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached from other machines, and passwords and readings are nobody else's; "
                "set tls_certificate and tls_key, or unencrypted = true where nobody else listens"
            )
        return self


class Broker(Section):
    """The clinic's MQTT broker, of which Homeward is a client."""

    host: str
    port: Port | None = None
    client_id: str = "homeward"
    username: str | None = None
    password: Secret | None = None
    tls: bool = False
    tls_ca: FilePath | None = None
    version: Literal["5", "3.1.1"] = "5"
    topic_prefix: str = PREFIX

    def settings(self) -> BrokerSettings:
        """For the link."""
        port = self.port if self.port is not None else 8883 if self.tls else 1883
        password = self.password.get_secret_value() if self.password is not None else None
        return BrokerSettings(**{**self.model_dump(), "port": port, "password": password})


class Uplink(Section):
    """The hub to which this home post forwards what it receives. post: its name under [listener.posts] there."""

    host: str
    port: Port | None = None
    post: DeviceName
    password: Secret
    tls: bool = True
    tls_ca: FilePath | None = None

    def settings(self) -> UplinkSettings:
        """For the link."""
        port = self.port if self.port is not None else 8883 if self.tls else 1883
        return UplinkSettings(**{**self.model_dump(), "port": port, "password": self.password.get_secret_value()})

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if not self.tls and not is_loopback(self.host):
            raise ValueError(f"host {self.host} is another machine, and readings are nobody else's; set tls = true")
        return self


class Bluetooth(Section):
    """Bluetooth LE through this machine's adapter. There is nothing to set."""


class Journal(Section):
    """How long readings are kept after they came, in days; without it, for ever."""

    keep_days: Annotated[int, Field(ge=90, le=36_500)] | None = None

    def keep(self) -> timedelta | None:
        """For the housekeeping."""
        return None if self.keep_days is None else timedelta(days=self.keep_days)


class Database(Section):
    """Where patients, devices and alerts are kept: a PostgreSQL server; without it, a file in the data directory."""

    url: Annotated[Secret, AfterValidator(_postgresql)]


class InfluxDB(Section):
    """Where readings are streamed to, under pseudonyms."""

    url: WebAddress
    token: HeaderSecret
    org: str = ""
    bucket: str

    def settings(self) -> InfluxSettings:
        """For the follower."""
        return InfluxSettings(url=self.url, token=self.token.get_secret_value(), org=self.org, bucket=self.bucket)


def _each_once(recipients: list[str]) -> list[str]:
    twice = {name for name in recipients if [other.lower() for other in recipients].count(name.lower()) > 1}
    if twice:
        raise ValueError(f"{' and '.join(sorted(twice))} would get every notice twice; name each mailbox once")
    return recipients


class Email(Section):
    """Notices by e-mail. trusted: the mailbox may hold health data; otherwise a notice holds a link only."""

    host: str
    port: Port = 587
    sender: str
    recipients: Annotated[list[str], Field(min_length=1), AfterValidator(_each_once)]
    username: str | None = None
    password: Secret | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    trusted: bool = False

    def server(self) -> MailServer:
        """Through which every e-mail goes."""
        return MailServer(
            host=self.host,
            port=self.port,
            security=self.security,
            username=self.username,
            password=self.password.get_secret_value() if self.password is not None else None,
        )

    def channels(self) -> list[MailChannel]:
        """One for each recipient, so that one dead mailbox does not repeat what reached the others."""
        return [
            MailChannel(
                name=f"email {recipient}",
                server=self.server(),
                sender=self.sender,
                recipient=recipient,
                trusted=self.trusted,
            )
            for recipient in self.recipients
        ]


class Webhook(Section):
    """Notices as JSON by HTTP POST. trusted: as in Email."""

    url: WebAddress
    token: HeaderSecret | None = None
    trusted: bool = False

    def channel(self) -> WebhookChannel:
        """It hears the requests to patients as well, so that a patient app can hang on it."""
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"} if self.token is not None else {}
        return WebhookChannel(
            name="webhook", url=self.url, audiences=frozenset(Audience), headers=headers, trusted=self.trusted
        )


class HeartbeatTo(Section):
    """Who is asked every 15 s while Homeward is at work, and calls people when it is not."""

    url: Annotated[Secret, AfterValidator(_secret_address)]


_PEOPLE: Final = {"patients": Audience.PATIENT, "staff": Audience.STAFF}


class Channel(Section):
    """One way to persons at their own addresses; contacts name it.

    kind: "mail" goes through the server of [email], "webhook" is a POST of JSON, "apprise" any service of Apprise.
    url: where to; {address} stands in it for the person's address. trusted: as in Email. reaches: whose addresses.
    replies: the provider hands over what people answer (POST /api/v1/replies); only then are they asked to answer.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    kind: Literal["mail", "webhook", "apprise"]
    url: Secret | None = None
    token: HeaderSecret | None = None
    trusted: bool = False
    replies: bool = False
    reaches: Annotated[list[Literal["patients", "staff"]], Field(min_length=1)] = ["patients", "staff"]

    def channel(self, email: Email | None) -> PersonalChannel:
        """For the speaker. email: the section of the configuration."""
        reaches = frozenset(_PEOPLE[each] for each in self.reaches)
        if self.kind == "mail" and email:
            return MailChannel(
                name=self.name,
                server=email.server(),
                sender=email.sender,
                audiences=frozenset(),
                trusted=self.trusted,
                reaches=reaches,
                replies=self.replies,
            )
        url = self.url.get_secret_value() if self.url is not None else ""
        if self.kind == "apprise":
            return AppriseChannel(
                name=self.name, url=url, trusted=self.trusted, reaches=reaches, replies=self.replies
            )
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"} if self.token is not None else {}
        return WebhookChannel(
            name=self.name,
            url=url,
            audiences=frozenset(),
            headers=headers,
            trusted=self.trusted,
            reaches=reaches,
            replies=self.replies,
        )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        url = self.url.get_secret_value() if self.url is not None else None
        if (url is None) != (self.kind == "mail"):
            raise ValueError(
                "kind mail takes no url, for it goes through the server of [email]; take it out"
                if url
                else f"kind {self.kind} needs a url; write where the messages go"
            )
        if self.kind == "apprise" and url and "{address}" not in url:
            raise ValueError("the url does not say where a person's address goes; write {address} there")
        if self.kind == "webhook" and url:
            _web_address(url.replace("{address}", "address"))
        if self.token is not None and self.kind != "webhook":
            raise ValueError(f"kind {self.kind} takes no token; take it out")
        return self


def _ladders(tables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    read_ladders(tables)
    return tables


class Config(Section):
    """Everything that can be configured."""

    data: FilePath = Field(default=Path("homeward-data"), validate_default=True)
    clinic: Clinic = Clinic()
    web: Web = Web()
    listener: Listener | None = None
    broker: Broker | None = None
    bluetooth: Bluetooth | None = None
    uplink: Uplink | None = None
    journal: Journal = Journal()
    database: Database | None = None
    influxdb: InfluxDB | None = None
    email: Email | None = None
    webhook: Webhook | None = None
    heartbeat: HeartbeatTo | None = None
    channel: list[Channel] = []
    ladder: Annotated[list[dict[str, Any]], AfterValidator(_ladders)] = []

    def personal_channels(self) -> list[PersonalChannel]:
        """The ways to persons."""
        return [each.channel(self.email) for each in self.channel]

    def ladders(self) -> tuple[Ladder, ...]:
        """The clinic's own ladders of escalation."""
        return read_ladders(self.ladder)

    @model_validator(mode="after")
    def _channels_can_speak(self) -> Self:
        names = [each.name for each in self.channel]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two [[channel]] have the name {twice[0]}; give each its own")
        if taken := sorted({"log", "webhook", "preferred"} & set(names)):
            raise ValueError(
                f"a [[channel]] cannot have the name {taken[0]}, which means something else; choose another"
            )
        if self.email is None and any(each.kind == "mail" for each in self.channel):
            raise ValueError("a [[channel]] of kind mail goes through the server of [email]; add that section")
        known = {*names, "preferred"}
        for step in (step for ladder in self.ladders() for step in ladder.steps):
            if step.channel not in known:
                raise ValueError(f"a [[ladder]] names the channel {step.channel}; add a [[channel]] of that name")
        return self

    @property
    def database_url(self) -> URL:
        """Where patients, devices and alerts are kept. It may hold a password."""
        if self.database is None:
            return URL.create("sqlite", database=str(self.data / BOOK))
        return make_url(self.database.url.get_secret_value())

    @model_validator(mode="before")
    @classmethod
    def _some_way_in(cls, found: dict[str, Any]) -> dict[str, Any]:
        return found if found.keys() & {"listener", "broker", "bluetooth"} else {**found, "listener": {}}


def load(path: Path | None) -> Config:
    """Read a configuration file; None gives the embedded defaults. Raises ConfigError."""
    if path is None:
        return Config()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: it cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: it is not TOML: {error}") from error
    try:
        return Config.model_validate(found, context=path.absolute().parent)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {sentence}" for sentence in _sentences(error))) from error


def _sentences(error: ValidationError) -> Iterator[str]:
    for flaw in error.errors(include_url=False):
        place = [str(part) for part in flaw["loc"]]
        said = _sentence(flaw, place)
        yield f"{_shown(place)}: {said}" if place else said


def _shown(place: list[str]) -> str:
    if len(place) > 1 and place[1].isdigit():  # one of several tables of a name
        return " ".join([f"[[{place[0]}]] {int(place[1]) + 1}", *place[2:]])
    section, key = (place[:-1], place[-1]) if len(place) > 1 else ([], place[0])
    if section:
        return f"[{'.'.join(section)}] {key}"
    return f"[{key}]" if key in _sections() else key


def _sections() -> dict[str, type[Section]]:
    return {model.__name__.lower(): model for model in Section.__subclasses__()}


def _sentence(flaw: ErrorDetails, place: list[str]) -> str:
    if flaw["type"] == "extra_forbidden":
        return f"unknown key{_nearest(place)}"
    if flaw["type"] == "missing":
        return "it is missing; add it, or take the section out"
    said = flaw["msg"].removeprefix("Value error, ")
    found = flaw["input"]
    shown = isinstance(found, int | float | str) and flaw["type"] != "value_error" and not _SECRETS & set(place)
    return f"{said}, found {found!r}" if shown else said


def _nearest(place: list[str]) -> str:
    model = _sections().get(place[0], Config) if len(place) > 1 else Config
    near = difflib.get_close_matches(place[-1], model.model_fields, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(model.model_fields)}"
