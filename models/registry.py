"""The model store: one folder a model, written whole or not at all, checked before use, announced on `models`.

    HOME/models/NAME/MODEL_ID/model.onnx    what is served; its sha256 names the model (monthly, daily: model.safetensors)
                              model.keras   what training can go on from
                              losses.json   `Losses`, of what is fitted by epochs
                              meta.json     a `ModelCard`
    HOME/models/NAME/promotions.json        who was champion, one after another

Nothing in it is ever unpickled: an ONNX graph or safetensors, and JSON, are all that a server reads.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import shutil
import uuid
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlparse

import msgspec
from kafka import KafkaProducer

from streams import bus, codec
from streams.bus import Record
from streams.clock import MINUTE_US, wall_ts_us
from streams.errors import BadMessage, ModelError
from streams.messages import Features, ModelAnnouncement
from streams.settings import Settings

SERVED = "model.onnx"
CARD = "meta.json"
LOSSES = "losses.json"
PROMOTIONS = "promotions.json"
UNFINISHED = ".unfinished-"  # begins the names of folders that are being written
LEAD_MIN = 2  # from a promotion to the minute from which it counts: forecasters load the model meanwhile


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a model; `meta.json`.

    `scaler` tells, for each feature, the mean and the standard deviation of the training part; the graph holds them too
    and applies them; `scaling` is the rule in words where those two are not all of it. `files` has the sha256 of each file
    beside the card, `served` is the one that serves. A model of texts has no features and horizons.
    """

    name: str
    seed: int
    feature_version: int = 0
    features: tuple[str, ...] = ()
    window: int = 0
    horizons_min: tuple[int, ...] = ()
    quantiles: tuple[str, ...] = ()
    data_cutoff_ts_us: int = 0
    scaler: dict[str, tuple[float, float]] = {}
    scaling: str = ""
    metrics: dict[str, float] = {}
    model_id: str = ""
    files: dict[str, str] = {}
    served: str = SERVED

    @property
    def sha256(self) -> str:
        """Checksum of what is served, empty where the card has none."""
        return self.files.get(self.served, "")


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """The loss of each epoch of a training, in whatever it minimised; `losses.json`.

    `train` is the mean over the epoch's steps; `validation`, as long, is of windows that are not learnt from, and empty where
    none are held out.
    """

    train: list[float]
    validation: list[float] = []


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """A model became champion, why, and when by the wall clock (0: not known, as before 0.2)."""

    model_id: str
    reason: str
    at_us: int = 0


class StoredModel(NamedTuple):
    """A model of the store whose files are as its card says."""

    folder: Path
    card: ModelCard

    @property
    def served(self) -> Path:
        """The file to serve."""
        return self.folder / self.card.served

    @property
    def sha256(self) -> str:
        """Checksum of the file to serve."""
        return self.card.sha256

    def announcement(self, *, promoted: bool, reason: str) -> ModelAnnouncement:
        """Return the message that tells everybody of this model."""
        return ModelAnnouncement(
            name=self.card.name,
            model_id=self.card.model_id,
            uri=self.folder.resolve().as_uri(),
            sha256=self.sha256,
            promoted=promoted,
            reason=reason,
            metrics=self.card.metrics,
            data_cutoff_ts_us=self.card.data_cutoff_ts_us,
        )


def checksum(path: Path) -> str:
    """Return the sha256 of the file at `path`, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save(settings: Settings, card: ModelCard, prefix: str, source: Path) -> StoredModel:
    """Store a model and return it; its id is its card's, or `prefix`, a dash, and the start of its served file's checksum.

    Parameters
    ----------
    card : ModelCard
        Without `files`, and without `model_id` where the checksum shall name it: they are filled in here.
    source : Path
        A folder with the file that `card.served` names and whatever else belongs to the model; it is copied.
    """
    place = settings.home / "models" / card.name
    place.mkdir(parents=True, exist_ok=True)
    work = place / f"{UNFINISHED}{uuid.uuid4().hex}"
    try:
        shutil.copytree(source, work)
        files = {path.name: checksum(path) for path in sorted(work.iterdir())}
        card = msgspec.structs.replace(card, model_id=card.model_id or f"{prefix}-{files[card.served][:8]}", files=files)
        (work / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card)))
        return StoredModel(_settle(work, place / card.model_id), card)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def tidy(settings: Settings) -> None:
    """Delete what was left by processes that were killed while they stored a model. Only where nobody else stores one."""
    for left in (settings.home / "models").glob(f"*/{UNFINISHED}*"):
        shutil.rmtree(left)


def _settle(work: Path, final: Path) -> Path:
    if not final.exists():
        return work.rename(final)
    for path in sorted(work.iterdir(), key=lambda path: path.name == CARD):  # the same graph again; its card goes last
        path.replace(final / path.name)
    return final


def newest(settings: Settings, name: str) -> StoredModel | None:
    """Return the model called `name` that was stored last and is whole, or None where there is none."""
    folders = (card.parent for card in (settings.home / "models" / name).glob(f"*/{CARD}"))
    for folder in sorted(folders, key=lambda place: (place / CARD).stat().st_mtime_ns, reverse=True):
        with contextlib.suppress(ModelError):
            return load(folder.resolve().as_uri(), read_card(folder).sha256)
    return None


def find(settings: Settings, name: str, model_id: str) -> StoredModel:
    """Return the stored model with that id, its files checked.

    Raises
    ------
    ModelError
        There is none, or it is damaged.
    """
    folder = settings.home / "models" / name / model_id
    if not (folder / CARD).is_file():
        raise ModelError(f"there is no model {model_id!r}; `tickcast models list` shows those that are here")
    return load(folder.resolve().as_uri(), read_card(folder).sha256)


def name_of(settings: Settings, model_id: str) -> str:
    """Return what the stored model with that id is called.

    Raises
    ------
    ModelError
        There is none.
    """
    for path in (settings.home / "models").glob(f"*/{glob.escape(model_id)}/{CARD}"):
        return path.parent.parent.name
    raise ModelError(f"there is no model {model_id!r}; `tickcast models list` shows those that are here")


def stored(settings: Settings, name: str) -> list[ModelCard]:
    """Return the cards of the models called `name`, the newest data first; damaged cards are left out."""
    cards = []
    for path in (settings.home / "models" / name).glob(f"*/{CARD}"):
        with contextlib.suppress(ModelError):
            cards.append(read_card(path.parent))
    return sorted(cards, key=lambda card: (card.data_cutoff_ts_us, card.model_id), reverse=True)


def losses(settings: Settings, name: str, model_id: str) -> Losses | None:
    """Return the loss curves of a stored model; None where it keeps none, as those stored by earlier versions.

    Raises
    ------
    ModelError
        The file is damaged.
    """
    path = settings.home / "models" / name / model_id / LOSSES
    try:
        return msgspec.json.decode(path.read_bytes(), type=Losses)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is damaged ({error}); the model serves on, its curves are also in MLflow") from error


def write_losses(folder: Path, kept: Losses) -> None:
    """Put the loss curves among the files of a model that is to be stored."""
    (folder / LOSSES).write_bytes(msgspec.json.encode(kept))


def stored_at_us(settings: Settings, name: str, model_id: str) -> int:
    """Return when a model was stored, microseconds UTC of the wall clock; 0 where it is not there."""
    try:
        return (settings.home / "models" / name / model_id / CARD).stat().st_mtime_ns // 1_000
    except OSError:
        return 0


def promotions(settings: Settings, name: str) -> list[Promotion]:
    """Return who was champion of `name`, the present one last.

    Raises
    ------
    ModelError
        The list is damaged.
    """
    path = settings.home / "models" / name / PROMOTIONS
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Promotion])
    except OSError:
        return []
    except msgspec.MsgspecError as error:
        raise ModelError(f"{path} is damaged ({error}); delete it, and promote a model by hand") from error


def promote(settings: Settings, model: StoredModel, reason: str) -> None:
    """Make `model` the champion; where it is that already, nothing changes."""
    before = promotions(settings, model.card.name)
    if before and before[-1].model_id == model.card.model_id:
        return
    path = settings.home / "models" / model.card.name / PROMOTIONS
    scratch = path.with_suffix(".tmp")
    now = Promotion(model_id=model.card.model_id, reason=reason, at_us=wall_ts_us())
    scratch.write_bytes(msgspec.json.encode([*before, now]))
    scratch.replace(path)


def champion(settings: Settings, name: str) -> StoredModel | None:
    """Return the champion called `name`, or where its files are damaged the one before it; None where there is none.

    Where nobody was ever promoted it is the model that was stored last.
    """
    for promotion in reversed(promotions(settings, name)):
        with contextlib.suppress(ModelError):
            return find(settings, name, promotion.model_id)
    return newest(settings, name)


def promoted(settings: Settings, name: str) -> StoredModel | None:
    """Return the champion called `name` where anybody was ever promoted, as :func:`champion`; else None, whatever is stored."""
    return champion(settings, name) if promotions(settings, name) else None


def load(uri: str, sha256: str) -> StoredModel:
    """Return the model at `uri` after checking every file of it.

    Raises
    ------
    ModelError
        A file is missing, its checksum is another, or the card cannot be read.
    """
    folder = _local(uri)
    card = read_card(folder)
    if not sha256 or card.sha256 != sha256:
        raise ModelError(f"the model at {folder} is not the one announced (sha256 {sha256[:8]}…); train or promote again")
    for name, expected in card.files.items():
        _check(folder / name, expected)
    return StoredModel(folder, card)


def _local(uri: str) -> Path:
    """Return the folder at `uri`; what is no file here is downloaded from wherever MLflow keeps it."""
    place = urlparse(uri)
    if place.scheme in {"", "file"}:
        return Path(unquote(place.path))
    from models import tracking  # noqa: PLC0415 - seconds, and only with a tracking server
    from streams import settings  # noqa: PLC0415

    return tracking.download(settings.load(), uri)


def read_card(folder: Path) -> ModelCard:
    """Return the card of the model in `folder`, its files unchecked.

    Raises
    ------
    ModelError
        It is missing or cannot be read.
    """
    try:
        return msgspec.json.decode((folder / CARD).read_bytes(), type=ModelCard)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelError(f"the model at {folder} has no readable {CARD} ({error}); train again") from error


def _check(path: Path, expected: str) -> None:
    try:
        found = checksum(path)
    except OSError as error:
        raise ModelError(f"the model's file {path} cannot be read ({error}); train again") from error
    if found != expected:
        raise ModelError(f"the model's file {path} is damaged: its sha256 is not the one on its card; train again")


def scheduled(settings: Settings, announcement: ModelAnnouncement) -> ModelAnnouncement:
    """Return what is announced of a new champion of forecasts: it counts from a minute that forecasters have yet before them.

    So it swaps at a minute of event time, and a replay of what was recorded swaps at the same one.
    """
    client = bus.consumer(settings)
    try:
        places = bus.partitions_of(client, settings, "features")
        first, ends = client.beginning_offsets(places), client.end_offsets(places)
        last = {place: max(first[place], ends[place] - 1) for place in places}
        newest = max((_minute(record) for record in bus.read_between(client, settings, last, ends)), default=0)
    finally:
        client.close()
    effective = newest + (1 + LEAD_MIN) * MINUTE_US if newest else 0
    return msgspec.structs.replace(announcement, effective_from_ts_us=effective)


def _minute(record: Record) -> int:
    try:
        return codec.decode(Features, record.value).minute_ts_us
    except BadMessage:  # the forecaster dead-letters it
        return 0


def announce(settings: Settings, announcement: ModelAnnouncement, client: KafkaProducer) -> None:
    """Publish `announcement` on `models` and wait until the broker has it.

    It is the newest word on a challenger, and where it is promoted on the champion too: the topic keeps the last of each.
    """
    keys = [announcement.name] if announcement.promoted else []
    records = [bus.outgoing("models", key, announcement) for key in (*keys, f"{announcement.name}:challenger")]
    bus.send_all(client, settings, records)
