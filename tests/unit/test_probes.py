"""HTTP and TCP probes, against real servers that misbehave."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from overcloud_agent import errors
from overcloud_agent.containers import addresses, probes, spec


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path asks for."""

    def do_GET(self) -> None:
        status = int(self.path.partition("?")[0].strip("/"))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/500")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(b"x" * 100_000)

    def log_message(self, *args: object) -> None:
        del args


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Accepts connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def address(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return address(made)


@pytest.mark.parametrize("status", [200, 204, 302, 304])
def test_2xx_and_3xx_pass_and_a_redirect_is_not_followed(server: str, status: int) -> None:
    assert probes.http(f"http://{server}/{status}", 5) is None


@pytest.mark.parametrize("status", [404, 500, 503])
def test_anything_else_does_not(server: str, status: int) -> None:
    assert probes.http(f"http://{server}/{status}", 5) == f"http://{server}/{status} answered {status}"


def test_neither_password_nor_query_is_told(server: str) -> None:
    said = probes.http(f"http://me:secret@{server}/503?token=secret", 5)
    assert said == f"http://{server}/503 answered 503"


def test_a_proxy_of_the_environment_is_not_asked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{closed_port()}")
    assert probes.http(f"http://{server}/200", 5) is None


def test_nobody_there_is_said_in_plain_words() -> None:
    port = closed_port()
    assert probes.http(f"http://{port}/", 5) == f"http://{port}/: connection refused"
    assert probes.tcp(port, 5) == f"{port}: connection refused"


def test_a_server_that_never_answers_costs_no_more_than_the_limit(listener: socket.socket) -> None:
    begun = time.monotonic()
    said = probes.http(f"http://{address(listener)}/", 0.5)
    assert said == f"http://{address(listener)}/: no answer within 0.5 s"
    assert time.monotonic() - begun < 5


def test_a_server_that_drips_costs_no_more_than_the_limit(listener: socket.socket) -> None:
    over = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            while not over.wait(0.1):
                connection.sendall(b"H")

    thread = threading.Thread(target=drip)
    thread.start()
    begun = time.monotonic()
    said = probes.http(f"http://{address(listener)}/", 0.5)
    over.set()
    thread.join()
    assert said is not None
    assert "no answer within 0.5 s" in said
    assert time.monotonic() - begun < 5


def test_what_is_no_http_is_said(listener: socket.socket) -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    said = probes.http(f"http://{address(listener)}/", 5)
    thread.join()
    assert said == f"http://{address(listener)}/: the answer is not HTTP"


def test_https_to_a_server_without_is_an_error_in_words(server: str) -> None:
    said = probes.http(f"https://{server}/200", 5)
    assert said is not None
    assert said.startswith(f"https://{server}/200: ")
    assert "TLS" in said or "connection" in said


def test_a_port_that_accepts_passes(listener: socket.socket) -> None:
    assert probes.tcp(address(listener), 5) is None


def test_a_name_that_does_not_resolve_is_said() -> None:
    said = probes.tcp("nowhere.invalid:80", 5)
    assert said is not None
    assert said.startswith("nowhere.invalid:80: the name does not resolve")


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [("127.0.0.1:3306", "127.0.0.1", 3306), ("[::1]:80", "::1", 80), ("db.example:1", "db.example", 1)],
)
def test_an_address_is_host_and_port(target: str, host: str, port: int) -> None:
    found = addresses.of_tcp(target)
    assert (found.host, found.port, found.shown) == (host, port, target)


@pytest.mark.parametrize("target", ["", "db", ":80", "db:", "db:x", "db:0", "db:70000", "db:80/x", "u@db:80", "a b:80"])
def test_what_is_none_is_bad_input(target: str) -> None:
    with pytest.raises(errors.BadInput):
        addresses.of_tcp(target)


@pytest.mark.parametrize("url", ["", "db", "ftp://db/", "http://", "http://db:x/", "http://[::1/", "http://a b/"])
def test_what_is_no_url_is_bad_input(url: str) -> None:
    with pytest.raises(errors.BadInput):
        addresses.of_url(url)


def test_an_address_is_shown_without_secrets() -> None:
    assert addresses.of_url("https://me:pw@[::1]:8443/a/b?c=d").shown == "https://[::1]:8443/a/b"
    assert addresses.of_url("https://host/").port == 443


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"http": "db:80"}, "$.config.web.upgrade.gate.http: this is not the URL of an HTTP server"),
        ({"tcp": "db"}, "$.config.web.upgrade.gate.tcp: 'db' is not a host and a port"),
        ({"exec": [""]}, "$.config.web.upgrade.gate.exec: a command begins with a program"),
    ],
)
def test_a_gate_that_cannot_be_asked_is_found_before_anything_moves(gate: dict[str, object], said: str) -> None:
    with pytest.raises(errors.BadInput) as caught:
        spec.parse({"web": {"image": "a", "upgrade": {"gate": gate}}})
    assert str(caught.value).startswith(said)
