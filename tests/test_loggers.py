"""Whether wandb goes online is decided by a server that answers, never by one that only listens."""

import os
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from neurotwin import loggers
from neurotwin.errors import NeurotwinError
from neurotwin.loggers import _reachable


class NotFound(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

    def log_message(self, *arguments):
        pass


@contextmanager
def answering():
    server = HTTPServer(("127.0.0.1", 0), NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@contextmanager
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def closed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    yield port


@pytest.mark.parametrize(("server", "online"), [(answering, True), (listening, False), (closed, False)])
def test_only_a_server_that_answers_is_online(server, online, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with server() as port:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        assert _reachable(timeout_s=0.5) is online


@pytest.mark.parametrize(
    "environment", [{"WANDB_API_KEY": ""}, {"WANDB_MODE": "offline"}, {"WANDB_BASE_URL": "no address"}]
)
def test_without_key_or_address_nothing_is_asked(environment, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.netrc
    for name, value in {"WANDB_API_KEY": "k" * 40, **environment}.items():
        monkeypatch.setenv(name, value)
    assert _reachable(timeout_s=0.5) is False


@pytest.fixture
def refusing(monkeypatch):
    """A server that answers and then refuses every run."""
    import wandb

    real = wandb.init

    def init(**settings):
        if os.environ["WANDB_MODE"] in ("offline", "dryrun"):
            return real(**settings)
        raise wandb.errors.CommError("returned error 501")

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(loggers, "_reachable", lambda: True)
    monkeypatch.setenv("WANDB_MODE", "online")
    yield
    wandb.finish()


def test_a_run_that_the_server_refuses_is_written_locally(refusing, tmp_path, caplog):
    folder = tmp_path / "row" / "run"
    folder.mkdir(parents=True)
    logger = loggers.wandb(folder)
    assert "the W&B server does not take the run (returned error 501); it is written locally" in caplog.text
    logger.log_metrics({"loss": 1.0}, step=0)
    assert list((tmp_path / "row" / "wandb").glob("offline-run-*"))


def test_a_run_that_must_be_online_is_not(refusing, tmp_path):
    with pytest.raises(NeurotwinError, match=r"does not take the run .*; logger\.wandb\.offline=true writes"):
        loggers.wandb(tmp_path / "run", offline=False)
