"""`tickcast doctor`: is this machine fit, does the system run, how are its roles."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from deploy import roles, tailing
from deploy.local import jars
from deploy.report_file import write_figures
from streams import bus, codec, security
from streams.clock import SECOND_US, iso, wall_ts_us
from streams.errors import BadMessage, EnvironmentFault, UserError
from streams.messages import Event
from streams.settings import PREFIX, Settings
from streams.topics import TOPICS

FRESH_US = 30 * SECOND_US
RECENT = 500  # records of `events`: half a minute of nine roles that speak about every second
LEAST_DISK_GIB = 5.0

Audit = Annotated[bool, typer.Option("--audit", help="what each stage took in, and where all of it went; exit 1 if some is lost")]
Minutes = Annotated[float, typer.Option(help="with --audit: how far to look back, by the broker's clock")]
Report = Annotated[Path | None, typer.Option("--json", "--report", help="with --audit: write the figures here")]


def settings_table(settings: Settings) -> Table:
    """Return every setting: its variable, its value and what it means."""
    table = Table("variable", "value", "what it is")
    hints = get_type_hints(Settings, include_extras=True)
    for name, value in msgspec.structs.asdict(settings).items():
        table.add_row(PREFIX + name.upper(), _shown(value), _description(hints[name]))
    return table


def _shown(value: object) -> str:
    """Return the value of a setting for everybody's eyes: a secret hides itself, and the user of an address is hidden here."""
    text = str(int(value)) if isinstance(value, bool) else str(value)
    return re.sub(r"//[^/@\s]*@", "//(hidden)@", text)


def _description(hint: Any) -> str:
    meta = next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, msgspec.Meta)), None)
    return (meta.description or "") if meta else ""


def newest(settings: Settings) -> dict[str, Event]:
    """Return the newest status that each role has given lately."""
    statuses = {}
    for record in tailing.records(settings, "events", RECENT, follow=False):
        try:
            event = codec.decode(Event, record.value)
        except BadMessage:
            continue
        if event.kind == "status":
            statuses[event.role] = event
    return statuses


def is_ready(settings: Settings, role: str) -> bool:
    """Return whether `role` said within the last 30 seconds that it is ready."""
    event = newest(settings).get(role)
    return event is not None and event.state == "ready" and wall_ts_us() - event.wall_ts_us < FRESH_US


def examine(settings: Settings, out: Console) -> bool:
    """Print a line for each thing looked at; return whether all is well."""
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("java", jars.java),
        ("jars", lambda config: str(jars.folder(config, "broker").parent)),
        ("disk", _disk),
        ("memory", _memory),
        ("security", _security),
        ("broker", lambda config: bus.find_broker(config).broker),
        ("topics", _topics),
    ]
    well = [_check(name, look, settings, out) for name, look in checks]
    if all(well):
        well.append(_roles(bus.find_broker(settings), out))
    return all(well)


def _check(name: str, look: Callable[[Settings], str], settings: Settings, out: Console) -> bool:
    try:
        out.print(f"[green]ok[/]    {name}: {look(settings)}", highlight=False)
    except UserError as error:
        out.print(f"[yellow]wrong[/] {name}: {error}", highlight=False)
        return False
    return True


def _disk(settings: Settings) -> str:
    place = next(folder for folder in (settings.home.resolve(), *settings.home.resolve().parents) if folder.exists())
    free = shutil.disk_usage(place).free / 2**30
    if free < LEAST_DISK_GIB:
        raise EnvironmentFault(f"{free:.1f} GiB are free at {place}; Kafka stops writing on a full disk: free some")
    return f"{free:.0f} GiB free"


def _memory(_settings: Settings) -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{total:.0f} GiB, {os.cpu_count()} cores (the whole pipeline takes about 6 GiB)"


def _security(settings: Settings) -> str:
    said = security.of(settings)
    remote = settings.broker.rpartition(":")[0].strip("[]") not in security.LOOPBACK
    if said.mechanism and not said.has_tls and remote:
        raise EnvironmentFault(f"{said}: the secret travels readable to {settings.broker}; use SASL_SSL")
    return f"{said}, from {settings.kafka_security}" if settings.kafka_security else str(said)


def _topics(settings: Settings) -> str:
    config = bus.find_broker(settings)
    client = bus.consumer(config)
    missing = [name for name in TOPICS if not bus.partitions_of(client, config, name)]
    client.close()
    if missing:
        raise EnvironmentFault(f"the topics {', '.join(missing)} are missing; start any role, it creates them")
    return f"all {len(TOPICS)} in namespace {config.topic_prefix or '(none)'}"


def _roles(settings: Settings, out: Console) -> bool:
    statuses = newest(settings)
    for role in roles.ROLES:
        event = statuses.get(role)
        if event is None:
            out.print(f"      {role}: silent", highlight=False)
            continue
        silent = event.state == "ready" and wall_ts_us() - event.wall_ts_us > FRESH_US
        mark = "[yellow]wrong[/]" if silent or event.state == "failed" else "[green]ok[/]   "
        out.print(f"{mark} {role}: {event.state} {event.detail} (last heard {iso(event.wall_ts_us)})", highlight=False)
    return not any(event.state == "failed" for event in statuses.values())


def balances(settings: Settings, minutes: float, report: Path | None, out: Console) -> bool:
    """Print the balance of the stages, and tell it on `events`; return whether nothing is missing and nothing doubled."""
    from deploy import audit  # noqa: PLC0415 - the command line must answer --help at once

    lines = audit.settled(settings, minutes, audit.PAUSE_S)
    audit.publish(settings, lines)
    out.print(audit.as_table(lines))
    well = all(line.balances for line in lines)
    out.print("nothing is missing, nothing is doubled" if well else "the stages DO NOT balance")
    stages = {line.stage: line.counts() for line in lines}
    write_figures({"minutes": minutes, "stages": stages, "holds": well}, report)
    return well
