"""The container files: real validators take them and refuse planted errors, and they agree with the code. No engine runs them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from deploy import cli
from deploy.local.processes import SECRETS_OF
from streams import settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
ROLES = {"produce", "stream", "archive", "sentiment", "forecast", "score", "train", "retrain", "steward", "console"}
ONE_SHOT = {"train"}
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]

each_service = pytest.mark.parametrize("name", SERVICES)
each_role = pytest.mark.parametrize("name", sorted(ROLES))


COMMANDS = typer.main.get_group(cli.app)


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that the development dependencies put beside this Python."""
    program = Path(sys.executable).with_name(name)
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def validate_compose(path: Path) -> subprocess.CompletedProcess[str]:
    return tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(path))


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    return tool("hadolint", "--no-color", str(path))


def dockerfile_environment() -> dict[str, str]:
    instruction = re.search(r"^ENV ((?:.*\\\n)*.*)", DOCKERFILE.read_text(), re.MULTILINE)
    assert instruction
    return dict(pair.split("=", 1) for pair in shlex.split(instruction[1].replace("\\\n", " ")))


def test_the_compose_file_follows_the_compose_specification() -> None:
    done = validate_compose(COMPOSE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("depends_on:", "depend_on:"),
        ("condition: service_healthy", "condition: service_is_healthy"),
        ("interval: 10s", "intervall: 10s"),
        ('ports: ["127.0.0.1:8321:8321"]', "ports: 8321"),
    ],
)
def test_the_compose_validator_refuses_a_planted_error(right: str, wrong: str, tmp_path: Path) -> None:
    planted = tmp_path / "docker-compose.yml"
    assert right in COMPOSE.read_text()
    planted.write_text(COMPOSE.read_text().replace(right, wrong))
    done = validate_compose(planted)
    assert done.returncode != 0
    assert "Schema validation errors were encountered" in done.stdout


def test_the_linter_has_nothing_to_say_about_the_dockerfile() -> None:
    done = lint(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("FROM python:3.11-slim-bookworm", "FROM debian:latest", "DL3007"),
        ("COPY . /build/", "ADD . /build/", "DL3020"),
        ('"openjdk-17-jre-headless=17.*"', "openjdk-17-jre-headless", "DL3008"),
        ("USER 10001", "USER root", "DL3002"),
        ("uv==0.13.8", "uv", "DL3013"),
        ("RUN tickcast jars", "RUNN tickcast jars", ""),
    ],
)
def test_the_linter_refuses_a_planted_error(right: str, wrong: str, rule: str, tmp_path: Path) -> None:
    planted = tmp_path / "Dockerfile"
    assert right in DOCKERFILE.read_text()
    planted.write_text(DOCKERFILE.read_text().replace(right, wrong))
    done = lint(planted)
    assert done.returncode != 0
    assert rule in done.stdout + done.stderr


def test_there_is_a_broker_and_one_service_a_role() -> None:
    assert set(SERVICES) == ROLES | {"kafka"}


@each_role
def test_a_role_runs_its_own_command_from_the_one_image_and_waits_for_the_broker(name: str) -> None:
    service = SERVICES[name]
    assert shlex.split(service["command"])[:2] == ["tickcast", name]
    assert service["image"] == "tickcast:local"
    assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DOCKERFILE
    assert service["depends_on"]["kafka"] == {"condition": "service_healthy"}
    assert "data:/data" in service["volumes"]


@each_service
def test_a_service_is_health_checked_and_started_again_unless_it_ends_by_itself(name: str) -> None:
    health, restart = SERVICES[name]["healthcheck"], SERVICES[name]["restart"]
    if name in ONE_SHOT:
        assert (health, restart) == ({"disable": True}, "on-failure:3")
    else:
        assert restart == "unless-stopped"
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(health)


@each_role
def test_a_health_check_asks_for_its_own_role(name: str) -> None:
    if name not in ONE_SHOT:
        assert SERVICES[name]["healthcheck"]["test"] == f"tickcast doctor --role {name}"


@each_service
def test_images_are_pinned_and_ports_stay_on_this_machine(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")
    assert tag not in {"", "latest"}
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@each_role
def test_the_settings_in_the_container_are_settings_that_exist(name: str) -> None:
    config = settings.load(dockerfile_environment() | SERVICES[name]["environment"])
    assert config.broker == "kafka:9092"
    assert config.home == Path("/data")
    assert not config.cache.is_relative_to(config.home)


@each_role
def test_a_container_is_given_the_secrets_that_its_role_needs_and_empty_ones_where_nobody_sets_them(name: str) -> None:
    given = {variable for variable in SERVICES[name]["environment"] if variable[9:].lower() in settings.SECRETS}
    assert given == {f"TICKCAST_{secret.upper()}" for secret in SECRETS_OF.get(name, ())}
    assert all(SERVICES[name]["environment"][variable] == f"${{{variable}:-}}" for variable in given)


def test_the_console_is_published_where_it_listens() -> None:
    port = settings.load({}).console_port
    assert SERVICES["console"]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_broker_is_the_version_that_is_embedded_elsewhere() -> None:
    embedded = re.search(r"kafka_2\.13-([\d.]+)\.jar", (ROOT / "deploy/local/jars.sha256").read_text())
    assert embedded
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{embedded[1]}"


def test_a_client_is_sent_back_to_the_address_that_it_can_reach() -> None:
    environment, (published,) = SERVICES["kafka"]["environment"], SERVICES["kafka"]["ports"]
    advertised = dict(entry.split("://") for entry in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert advertised["PLAINTEXT"] == SERVICES["stream"]["environment"]["TICKCAST_BROKER"]
    assert published.startswith(advertised["HOST"])


def test_the_image_brings_uv_as_the_makefile_does_and_hashed_packages() -> None:
    version = re.search(r"UV_VERSION := (.+)", (ROOT / "Makefile").read_text())
    assert version
    assert f"uv=={version[1]} " in DOCKERFILE.read_text()
    assert "--require-hashes --requirements /build/requirements.lock" in DOCKERFILE.read_text()


def test_the_build_gets_every_package_of_the_wheel_and_nothing_else_of_size() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    packages = {"streams", "producers", "models", "consumers", "deploy"}
    assert allowed == packages | {"pyproject.toml", "requirements.lock", "README.md"}
    assert all((ROOT / path).exists() for path in allowed)


@each_role
def test_the_service_s_command_and_its_options_exist(name: str) -> None:
    program, command, *arguments = shlex.split(SERVICES[name]["command"])
    assert (program, command) == ("tickcast", name)
    COMMANDS.commands[command].make_context(command, arguments)  # raises where an option is unknown
