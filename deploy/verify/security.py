"""`tickcast verify security`: everything over TLS with few rights; who has none is refused, and no secret is left behind.

A broker of the check's own asks for TLS and a password or a token, and has rights on (`deploy/local/secured.py`). On it a tape
runs through every role as a user whose only rights are those of one namespace. Then come, through the command line, a user
without rights, a wrong password, an unknown client of the token endpoint and a plain connection: each must be refused with one
sentence. Last, whatever was written and said is searched for the secrets.
"""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy import replaying
from deploy.local import jars, secured
from deploy.local.secured import Secured
from deploy.local.supervisor import Supervisor
from deploy.replaying import Wish
from deploy.verify.faults import family
from deploy.verify.replayed import QUICK_TICKS
from producers.tapes import Cut
from streams import bus
from streams.errors import EnvironmentFault
from streams.settings import Settings
from streams.topics import TOPICS

USER = "tickcast"
MECHANISMS = ("SCRAM-SHA-512", "OAUTHBEARER")
COMMANDS = ("topics", "produce", "sentiment", "stream", "doctor")  # one of each client, and what people ask
QUICK_COMMANDS = ("topics", "sentiment")
REFUSED_WITHIN_S = 90.0
REFUSALS = (1, 2)  # doctor has found something wrong; whatever else cannot work


def run(settings: Settings, tape: Path, console: Console, *, quick: bool) -> dict[str, Any]:
    """Run `tape` on a broker that asks who one is, and be refused by it; return the figures, `holds` among them."""
    began_s = time.monotonic()
    jars.folder(settings, "broker")
    hidden = {name: f'{secrets.token_hex(8)} "=;\\{name}' for name in ("user", "client", "stranger")}
    with tempfile.TemporaryDirectory(prefix="tickcast-secured-") as scratch:
        own = msgspec.structs.replace(settings.unconnected(), home=Path(scratch) / "home")
        with secured.running(own, Path(scratch) / "broker") as broker:
            search = Search(hidden)
            cut = Cut(source=str(tape.resolve()), ticks=QUICK_TICKS)
            replays = {}
            for mechanism in MECHANISMS[: 1 if quick else None]:
                console.print(f"a tape through every role with {mechanism} …", highlight=False)
                replays[mechanism] = _through(broker, own, hidden, mechanism, cut, search, console)
            console.print("who has no rights …", highlight=False)
            refused = list(_refusals(broker, own, hidden, QUICK_COMMANDS if quick else COMMANDS, search))
        search.files(own.home)
    return {
        "replays": replays,
        "refused": refused,
        "searched": search.searched,
        "leaks": search.found,
        "seconds": round(time.monotonic() - began_s, 1),
        "holds": all(one["records"]["forecasts"] > 0 for one in replays.values())
        and all(one["well"] for one in refused)
        and not search.found,
    }


class Search:
    """Looks for secrets, as they are and as base64 says them; counts what it has looked at."""

    def __init__(self, hidden: Mapping[str, str]) -> None:
        self._needles = {
            name: {
                needle for text in (secret, secret.split()[0]) for needle in (text.encode(), base64.b64encode(text.encode())[:-4])
            }
            for name, secret in hidden.items()
        }
        self.found: list[str] = []
        self.searched = {"files": 0, "records": 0, "processes": 0, "answers": 0}

    def take(self, kind: str, where: str, content: bytes) -> None:
        """Look at one thing of `kind`, which is found at `where`."""
        self.searched[kind] += 1
        for name, needles in self._needles.items():
            line = f"the secret of {name} is in {where}"
            if any(needle in content for needle in needles) and line not in self.found:
                self.found.append(line)

    def files(self, folder: Path) -> None:
        """Look at every file below `folder`: logs, checkpoints, the lake."""
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink():
                self.take("files", str(file.relative_to(folder)), file.read_bytes())

    def processes(self, _running: Supervisor) -> None:
        """Look at what everybody on this machine sees of the processes that we have started, and at their environment."""
        for pid in family(os.getpid())[1:]:
            for what in ("cmdline", "environ"):
                try:
                    content = Path(f"/proc/{pid}/{what}").read_bytes()
                except OSError:
                    continue
                self.take("processes", f"the {what} of a process", content)

    def topics(self, settings: Settings) -> None:
        """Look at every record of a namespace."""
        for record in bus.read_all(settings, *TOPICS):
            told = b"\0".join(value for _, value in record.headers)
            self.take("records", record.topic, b"\0".join((record.key or b"", record.value or b"", told)))


def _through(  # noqa: PLR0913, PLR0917 - a run is who runs it, with what, where
    broker: Secured, settings: Settings, hidden: Mapping[str, str], mechanism: str, cut: Cut, search: Search, console: Console
) -> dict[str, Any]:
    """Run the tape as :data:`USER`, whose rights end with the namespace; return the figures of the replay."""
    named = replaying.namespaced(settings, cut, "secured")
    broker.user(USER, hidden["user"], named.topic_prefix)
    broker.client(USER, hidden["client"])
    own = (
        broker.scram(named, USER, hidden["user"]) if mechanism == MECHANISMS[0] else broker.bearer(named, USER, hidden["client"])
    )
    played = replaying.play(own, Wish(cut, each=search.processes), console)
    if played is None:
        raise EnvironmentFault("the replay was stopped before its end: nothing can be said")
    search.topics(own)
    return played.report()


def _refusals(
    broker: Secured, settings: Settings, hidden: Mapping[str, str], commands: tuple[str, ...], search: Search
) -> Iterator[dict[str, Any]]:
    """Yield who was refused, and with what words."""
    broker.user("stranger", hidden["stranger"])
    clients = {
        "no rights": broker.scram(settings, "stranger", hidden["stranger"]),
        "a wrong password": broker.scram(settings, USER, hidden["stranger"]),
        "an unknown client": broker.bearer(settings, "nobody", hidden["client"]),
        "a plain connection": msgspec.structs.replace(settings, broker=broker.address),
    }
    for who, own in clients.items():
        for command in commands if who == "no rights" else commands[:1]:
            code, said = _tried(own, command)
            search.take("answers", f"the answer to {command} with {who}", said.encode())
            one_line = said.count("\n") <= 1 or command == "doctor"
            yield {"who": who, "command": command, "code": code, "said": said[:1_000], "well": code in REFUSALS and one_line}


def _tried(settings: Settings, command: str) -> tuple[int | None, str]:
    """Return the exit code of a command and what it said on stderr (doctor: on stdout); None where it did not end by itself."""
    line = [sys.executable, "-m", "deploy", command]
    try:
        done = subprocess.run(
            line, env=settings.inherited(), capture_output=True, text=True, timeout=REFUSED_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {REFUSED_WITHIN_S:.0f} s"
    return done.returncode, done.stdout + done.stderr


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    table = Table("who", "command", "exit code", "said")
    for one in figures["refused"]:
        table.add_row(one["who"], one["command"], str(one["code"]), escape(one["said"].strip()))
    through = (
        f"{mechanism}: {one['records']['ticks']:,} ticks to {one['records']['forecasts']:,} forecasts in {one['seconds']:.0f} s"
        for mechanism, one in figures["replays"].items()
    )
    searched = ", ".join(f"{count:,} {kind}" for kind, count in figures["searched"].items())
    table.caption = "\n".join([*through, f"searched {searched}: {len(figures['leaks'])} leaks", *map(escape, figures["leaks"])])
    table.caption_justify = "left"
    return table
