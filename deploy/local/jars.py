"""The jars of the embedded broker and of Spark's Kafka connector, resolved once by the Ivy that pyspark ships.

They land in `Settings.cache`, shared by all checkouts, with a list of their SHA-256 sums. The pinned sums in `jars.sha256` are
what this project was tested with: a download that differs is refused.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from streams.errors import EnvironmentFault
from streams.settings import Settings

HERE = Path(__file__).parent
JAVA_MINIMUM = 17
# Maven Central only: Ivy's default chain also reads a half-filled local Maven repository, and fails on it.
IVY_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""


def java(settings: Settings) -> str:
    """Return the path of a `java` of version 17 or newer.

    Raises
    ------
    EnvironmentFault
        There is none.
    """
    candidate = Path(settings.java_home, "bin", "java") if settings.java_home else Path("java")
    found = shutil.which(str(candidate))
    if found is None:
        raise EnvironmentFault(
            "Java 17 or newer is needed: install it (Debian: apt-get install openjdk-17-jre-headless) or set JAVA_HOME"
        )
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA_MINIMUM:
        raise EnvironmentFault(
            f"Java 17 or newer is needed, and {found} is {said.splitlines()[0] if said else 'silent'}; set JAVA_HOME"
        )
    return found


def pyspark_home() -> Path:
    """Return the folder of the installed pyspark, without importing it."""
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise EnvironmentFault("pyspark is not installed; run `make install`")
    return Path(spec.origin).parent


def folder(settings: Settings, kind: str) -> Path:
    """Return the folder with the jars of `kind` (`broker` or `spark`), fetched on the first call."""
    base = settings.cache / "jars" / _fingerprint()
    if not (base / "complete").exists():
        _fetch(settings, base)
    return base / kind


def _fingerprint() -> str:
    return hashlib.sha256((HERE / "ivy.xml").read_bytes()).hexdigest()[:12]


def _pinned() -> dict[str, str]:
    lines = (HERE / "jars.sha256").read_text().split("\n")
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines) if name}


def _fetch(settings: Settings, base: Path) -> None:
    settings.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.cache) as scratch:
        _resolve(java(settings), Path(scratch))
        _verify(Path(scratch, "lib"))
        base.parent.mkdir(parents=True, exist_ok=True)
        if not base.exists():
            Path(scratch, "lib", "complete").touch()
            Path(scratch, "lib").rename(base)


def _resolve(java_path: str, scratch: Path) -> None:
    """Run Ivy in `scratch`, showing how many of the pinned jars have arrived."""
    (scratch / "settings.xml").write_text(IVY_SETTINGS)
    ivy = next(pyspark_home().glob("jars/ivy-*.jar"))
    command = [java_path, "-jar", str(ivy), "-settings", "settings.xml", "-ivy", str(HERE / "ivy.xml"), "-cache", "ivy-cache"]
    command += ["-retrieve", "lib/[conf]/[artifact]-[revision].[ext]"]
    log = scratch / "ivy.log"
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} jars"))
    with log.open("w") as out, Progress(*columns, transient=True) as progress:
        bar = progress.add_task("fetching the Kafka jars (once, about 110 MB)", total=len(_pinned()))
        process = subprocess.Popen(command, cwd=scratch, stdout=out, stderr=subprocess.STDOUT)
        while process.poll() is None:
            progress.update(bar, completed=len(list(scratch.glob("ivy-cache/**/jars/*.jar"))))
            try:
                process.wait(timeout=0.3)
            except subprocess.TimeoutExpired:
                continue
    if process.returncode != 0:
        last = next((line for line in reversed(log.read_text().splitlines()) if line.strip()), "no output")
        raise EnvironmentFault(
            f"the Kafka jars could not be fetched ({last.strip()}); check the way to Maven Central and try again"
        )


def _verify(lib: Path) -> None:
    pinned = _pinned()
    present = {f"{jar.parent.name}/{jar.name}": jar for jar in lib.glob("*/*.jar")}
    # Ivy also brings jars that pyspark has already; two versions of one class must not meet on one class path
    for name in present.keys() - pinned.keys():
        present.pop(name).unlink()
    for name, digest in pinned.items():
        if name not in present or hashlib.sha256(present[name].read_bytes()).hexdigest() != digest:
            raise EnvironmentFault(f"the jar {name} is missing or not the one that was pinned; delete the cache and try again")
