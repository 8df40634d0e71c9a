"""FinBERT from a hub: a server on this machine that speaks as much of the hub's protocol as a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from models.sentiment import finbert
from streams import settings
from streams.errors import ModelError

COMMIT = "c0" * 20
NAME = "someone/tiny-finbert"


class Hub(BaseHTTPRequestHandler):
    """Serves the files of one folder as the only model of a hub."""

    folder: Path

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        if self.path.startswith(f"/api/models/{NAME}"):
            files = [{"rfilename": path.name} for path in self.folder.iterdir()]
            return self._send(json.dumps({"id": NAME, "sha": COMMIT, "siblings": files}).encode(), with_body)
        path = self.folder / self.path.removeprefix(f"/{NAME}/resolve/{COMMIT}/")
        if not path.is_file():
            return self.send_error(404)
        return self._send(path.read_bytes(), with_body)

    def _send(self, body: bytes, with_body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tiny_finbert: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # the hub is this very process
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("TinyHub", (Hub,), {"folder": tiny_finbert}))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_is_kept_verified_and_scores(hub: str, tiny_finbert: Path, tmp_path: Path) -> None:
    online = settings.load({}, finbert=NAME)
    folder = finbert.locate(online, hub, tmp_path)
    model = finbert.load(folder, tmp_path)
    assert model.score(["profit rose"]).tolist() == finbert.load(tiny_finbert, tmp_path).score(["profit rose"]).tolist()
    without_network = settings.load({}, finbert=NAME, offline=True)
    assert finbert.locate(without_network, "http://127.0.0.1:1", tmp_path) == folder
    blob = finbert.weights_file(folder).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match="damaged"):
        finbert.load(folder, tmp_path)


def test_a_hub_that_does_not_answer_is_one_sentence(hub: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be had from the hub"):
        finbert.locate(settings.load({}, finbert=NAME), "http://127.0.0.1:1", tmp_path)
    with pytest.raises(ModelError, match="cannot be had from the hub"):
        finbert.locate(settings.load({}, finbert="someone/else"), hub, tmp_path)
