"""A client that is fit for work, or one plain message why there is none."""

from __future__ import annotations

import json
import logging
import socket
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from featstore.cluster import connect
from featstore.cluster.versions import versions_of
from featstore.errors import FeatstoreError, MissingExtraError, SettingError


@pytest.fixture(autouse=True)
def nothing_but_the_message(capfd):
    """Nothing is printed, and Dask's log is as loud afterwards as it was before."""
    import distributed

    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client", "tornado.application")]
    levels = [logger.level for logger in loggers]
    yield
    assert distributed
    assert capfd.readouterr() == ("", "")
    assert levels == [logger.level for logger in loggers]


class Page(BaseHTTPRequestHandler):
    """An answer to everything."""

    def log_message(self, *_):
        pass


@contextmanager
def _listening(answer):
    """A port of something else: an HTTP server, or one that never answers."""
    if answer:
        with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
            server.daemon_threads = True
            Thread(target=server.serve_forever, args=(0.05,)).start()
            yield server.server_port
            server.shutdown()
    else:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            yield silent.getsockname()[1]


def test_the_address_of_a_scheduler(cluster):
    for address in (cluster.address, cluster.address.removeprefix("tcp://"), str(cluster.file)):
        with connect(address) as client:
            assert client.submit(sum, [1, 2]).result() == 3
    assert client.status == "closed"


@pytest.mark.parametrize(
    "address",
    ["", "host", "http://host:8786", "host:port", "host:", "tcp://", "no/such/file.json", "two words:8786", "/"],
)
def test_no_address_and_no_file(address):
    with pytest.raises(SettingError, match=r"no address of a Dask scheduler.*expected host:8786.*--scheduler-file"):
        with connect(address):
            pass


@pytest.mark.parametrize("text", ["", "{}", "[]", "\0", '{"address": 1}', '{"address": "host"}', '"tcp://host:8786"'])
def test_a_file_without_an_address(tmp_path, text):
    path = tmp_path / "scheduler.json"
    path.write_text(text)
    with pytest.raises(SettingError, match=r"scheduler\.json: no scheduler's address"):
        with connect(str(path)):
            pass


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "[::1]:1", "tcp://127.0.0.1:99999", "no.such.host.invalid:8786"],
)
def test_nobody_there(address):
    with pytest.raises(FeatstoreError) as caught:
        with connect(address, connect_s=0.3):
            pass
    assert f"no Dask scheduler answers at {address} (waited up to 0.3 s). See whether one runs" in str(caught.value)


@pytest.mark.parametrize(("scheme", "why"), [("tls", r"\(TLS expects.*ssl"), ("ucx", "")])
def test_a_way_that_needs_what_is_not_there(scheme, why):
    with pytest.raises(FeatstoreError, match=f"no Dask scheduler answers at {scheme}://127.0.0.1:1 {why}"):
        with connect(f"{scheme}://127.0.0.1:1", connect_s=0.3):
            pass


def test_a_worker_is_no_scheduler(cluster):
    with connect(cluster.address) as client:
        worker = next(iter(client.nthreads()))
    with pytest.raises(FeatstoreError, match=f"{worker} is a Dask worker; expected a scheduler"):
        with connect(worker):
            pass


@pytest.mark.parametrize("answer", [True, False], ids=["http", "silent"])
def test_something_else_there(answer):
    with _listening(answer) as port:
        with pytest.raises(FeatstoreError, match="no Dask scheduler answers"):
            with connect(f"127.0.0.1:{port}", connect_s=0.5):
                pass


def test_a_file_of_a_scheduler_that_has_ended(tmp_path):
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": "tcp://127.0.0.1:1"}))
    with pytest.raises(FeatstoreError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 "):
        with connect(str(path), connect_s=0.3):
            pass


def test_no_workers_and_then_one(make_cluster):
    cluster = make_cluster()
    with pytest.raises(FeatstoreError, match=rf"{cluster.address} has no workers \(waited 0.3 s\).*dask worker tcp"):
        with connect(cluster.address, workers_s=0.3):
            pass
    cluster.worker()
    with connect(cluster.address) as client:
        assert len(client.nthreads()) == 1


def test_workers_of_another_version(cluster, monkeypatch):
    monkeypatch.setattr("featstore.cluster.versions.version", lambda name: "9.9")
    found = r"the Dask worker tcp://\S+ has featstore (?!9\.9)\S+; expected featstore 9\.9, as here"
    with pytest.raises(FeatstoreError, match=found):
        with connect(cluster.address):
            pass
    with pytest.raises(FeatstoreError, match=r"has featstore \S+ and numpy \S+; expected featstore 9.9 and numpy 9.9"):
        with connect(cluster.address, same=["numpy"]):
            pass


def test_what_is_not_installed_has_a_version_too():
    assert versions_of(["no-such-package"])["no-such-package"] == "(not installed)"


def test_workers_without_featstore(make_cluster):
    cluster = make_cluster()
    package = cluster.folder / "without" / "featstore"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('broken')")
    cluster.worker(PYTHONPATH=str(package.parent))
    with pytest.raises(FeatstoreError, match=r"has no featstore that can be used \(.*broken.*Install it"):
        with connect(cluster.address):
            pass


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"a Dask cluster needs distributed.*pip install '\.\[dask\]'"):
        with connect("host:8786"):
            pass


def test_what_the_body_raises_comes_out_as_it_is(cluster):
    for error in (ValueError("mine"), SettingError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            with connect(cluster.address):
                raise error
        assert caught.value is error


def test_the_scheduler_ends(make_cluster):
    cluster = make_cluster()
    cluster.worker()
    with pytest.raises(FeatstoreError, match=r"connection to the Dask scheduler at tcp://.* was lost"):
        with connect(cluster.address) as client:
            future = client.submit(int)
            future.result()
            cluster.scheduler.kill()
            client.submit(int, 1).result()
