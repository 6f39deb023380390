"""What the parts of the house are called, and the sentences in which the links say of themselves how they do.

The links know no catalogue, so a sentence of theirs is known again by its form. English here; others in `locale/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from gateway.language import Language, Sentence
from gateway.words import N_
from ingest.links import ble_faults

_PARTS: Final[Mapping[str, str]] = {
    "journal": N_("Journal"),
    "watch": N_("Watch over the readings"),
    "rounds": N_("Weekly reviews"),
    "escalation": N_("Telling people"),
    "heartbeat": N_("Heartbeat"),
    "listener": N_("Listener (MQTT)"),
    "logins": N_("Logins of devices"),
    "home posts": N_("Home posts"),
    "broker": N_("Broker (MQTT)"),
    "bluetooth": N_("Bluetooth"),
    "letters": N_("Set aside"),
    "disk": N_("Disk"),
    "influxdb": "InfluxDB",
    "uplink": N_("Way to the hub"),
    "channels": N_("Channels"),
    "team": N_("Team"),
}
_OF_A_NAME: Final = {"channel": N_("Channel {name}"), "device": N_("Device {name}")}
# Of two forms that a sentence has, the one above is the closer.
_FORMS: Final = (
    # The followers of the journal: `ingest.influx`
    N_("{said} InfluxDB refused {n} readings; they are set aside."),
    N_("InfluxDB follows the journal."),
    N_("Readings cannot be made ready for InfluxDB ({error}); the log says more, report it."),
    N_("InfluxDB at {url} cannot be reached ({error}): is it running, is the address right?"),
    N_(
        "InfluxDB at {url} does not know the token (401): set one that may write to bucket {bucket} of "
        "organisation {org}."
    ),
    N_(
        "The token may not write to bucket {bucket} of organisation {org} (403): give it the permission, or"
        " set another token."
    ),
    N_(
        "the server at {url} has no /api/v2/write (404): InfluxDB 1.8 or newer is needed; is it an older "
        "one, or is the address right?"
    ),
    N_(
        "InfluxDB at {url} has no bucket {bucket} of organisation {org} (404): create it, or correct the "
        "names. {answer}"
    ),
    N_("InfluxDB at {url} is busy or failing ({status}); trying again. {answer}"),
    N_("{url} does not answer like InfluxDB ({status}): is the address right? {answer}"),
    # A home post: `ingest.links.uplink`
    N_("{said}; packets that it has still to confirm: {n}, since {moment}."),
    N_("{said}; packets that it has still to confirm: {n}."),
    N_("The hub takes what is sent"),
    N_("not yet connected to the hub {hub}"),
    N_("what the hub confirms cannot be written down: {error}; free the disk, or end what holds it"),
    N_("the hub {hub} is gone ({why})"),
    N_(
        "the hub {hub} hung up instead of an answer ({why}); check the port: it is that of [listener] at "
        "the hub, not that of its page"
    ),
    N_("the hub {hub} refuses the login of {post}; check post and password, and [listener.posts] at the hub"),
    N_("the hub {hub} refuses the session: {why}"),
    N_("the hub {hub} takes no packets from {post}; name it under [listener.posts] there"),
    N_("the hub {hub} does not understand what {post} sends; update Homeward there first"),
    N_("the hub {hub} does not take what {post} sends ({why}); its letters say why"),
    N_("the hub {hub} does not answer; check the network, host and port"),
    # The broker: `ingest.links.broker`
    N_("not yet connected to the broker {broker}"),
    N_("the broker {broker} does not answer in MQTT; is another program at this port, or does it expect TLS?"),
    N_("the broker {broker} does not let {user} subscribe to {topic}; allow it in the broker's access list"),
    N_("the broker {broker} refuses connections; start the broker there, or check host and port"),
    N_("the broker {broker} hangs up before a word is said; check the port, and whether TLS is wanted there"),
    N_("the broker {broker} does not answer; check the network, a firewall, host and port"),
    N_("the broker's host {host} is unknown; check host, or the name server of this computer"),
    N_("the broker {broker} refuses the login (no user name was given); check username and password"),
    N_("the broker {broker} refuses the login (user {user}); check username and password"),
    N_("the broker {broker} refuses the client id {name}; choose another client_id"),
    N_("the broker {broker} does not speak MQTT {version}; set version to the other one"),
    N_("the broker {broker} refuses the session: {why}"),
    N_("the broker {broker} has fallen silent; check it and the network"),
    N_("the broker {broker} ended the connection: {why}"),
    N_("the broker {broker} ended the connection; if that repeats, see whether another program uses our client_id"),
    N_("the broker {broker} ended the connection before it answered; does it speak MQTT {version}, or expect TLS?"),
    N_("the broker {broker} sends QoS 2, which was not asked for; it is not MQTT"),
    N_("the broker {broker} does not keep to MQTT {version}: {why}"),
    N_("grants QoS 0 instead of 1, so messages are lost whenever the connection is; raise its maximum QoS"),
    N_("keeps our messages for {kept} s while we are away, {asked} s were asked; raise its session expiry"),
    N_(
        "has dropped {n} messages to its clients, as last seen at {moment}, because their queues were full;"
        " raise its max_queued_messages"
    ),
    N_(
        "had forgotten our session at {moment}: what it had received for us and not delivered is gone "
        "unless devices send it again; check its persistence and its session expiry"
    ),
    # Both
    N_(
        "{who} shows a certificate that is not trusted ({why}); set tls_ca to the certificate authority "
        "that signed it, and host to a name in it"
    ),
    N_("{who} does not speak TLS with us ({why}); check the port (8883 is usual for TLS)"),
    N_("the file {file} with the certificate authority does not exist; check tls_ca"),
    N_("{who} cannot be reached ({why}); check the network, host and port"),
    # The listener
    N_("the listener has stopped reading: {n} messages wait to be committed"),
    N_("the listener keeps devices waiting: {why}"),
    N_("the listener turns devices away: all {n} connections are taken"),
    N_("{file} cannot be written ({error}); check the disk"),
    # Channels: `alerts.channels`
    N_("not configured any more, but notices wait for it"),
    N_("the book of notices cannot be used: {error}"),
    N_("{channel} answered HTTP 401"),
    N_("{channel} answered HTTP 403"),
    N_("{channel} answered HTTP {status}"),
    N_("apprise {name} did not answer within {s} s"),
    N_("apprise {name}: the service did not take it"),
    N_("{name}: not done within {s} s"),
    N_("{name}: {kind} {said}; correct the channel's configuration"),
    N_("webhook: {kind} {said}"),
    N_("webhook: {kind}"),
    N_("webhook {name}: {kind} {said}"),
    N_("webhook {name}: {kind}"),
    N_("e-mail {name}: {kind} {said}"),
    N_("e-mail {name}: {kind}"),
    N_("apprise {name}: {kind}"),
    # Bluetooth: `ingest.links.ble_faults`; those that are always the same stand there
    N_("scanning failed ({error}); see `systemctl status bluetooth`"),
    N_("the device refused a request (ATT error {code}: {why})"),
    N_("the session was not finished after {n} s"),
    N_("the connection failed ({error})"),
)
# Who it is, in sentences of both; by themselves they would be whatever begins like this.
_WHO: Final = (N_("the broker {broker}"), N_("the hub {hub}"))
# Faults by the names that the programs below give them, as the channels quote them.
_FAULTS: Final = frozenset(
    {
        N_("ConnectError"),
        N_("ConnectTimeout"),
        N_("ReadTimeout"),
        N_("WriteTimeout"),
        N_("PoolTimeout"),
        N_("ReadError"),
        N_("WriteError"),
        N_("RemoteProtocolError"),
        N_("UnsupportedProtocol"),
        N_("InvalidURL"),
        N_("TimeoutError"),
        N_("ConnectionRefusedError"),
        N_("ConnectionResetError"),
        N_("gaierror"),
        N_("SMTPAuthenticationError"),
        N_("SMTPConnectError"),
        N_("SMTPConnectTimeoutError"),
        N_("SMTPReadTimeoutError"),
        N_("SMTPTimeoutError"),
        N_("SMTPServerDisconnected"),
        N_("SMTPRecipientsRefused"),
        N_("SMTPSenderRefused"),
        N_("SMTPDataError"),
    }
)
_SHAPES: Final = tuple(
    (form, re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.*?)", re.escape(form)), re.DOTALL))
    for form in (*_FORMS, *_WHO)
)
_ALWAYS: Final = frozenset(
    said for name, said in vars(ble_faults).items() if re.fullmatch("[A-Z][A-Z_]+", name) and isinstance(said, str)
)


def known(said: str, *, is_quoted: bool = False) -> str:
    """A sentence of a link as one that the pages say in their languages; as it is where nobody knows its form."""
    if said in _ALWAYS or (is_quoted and said in _FAULTS):
        return Sentence(said)
    for form, shape in _SHAPES:
        if (is_quoted or form not in _WHO) and (found := shape.fullmatch(said)):
            return Sentence(form, **{name: known(each, is_quoted=True) for name, each in found.groupdict().items()})
    return said


def part_word(part: str, language: Language) -> str:
    """What a part of the house is called; its own name where it is one of another Homeward."""
    kind, _, name = part.partition(" ")
    if kind in _OF_A_NAME and name:
        return language.gettext(_OF_A_NAME[kind]).format(name=name)
    return language.gettext(_PARTS.get(part, part))
