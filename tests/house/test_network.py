"""Tests reach loopback only."""

from __future__ import annotations

import socket

import pytest


def test_another_machine_is_out_of_reach() -> None:
    with socket.socket() as there, pytest.raises(RuntimeError, match="loopback only"):
        there.connect(("192.0.2.1", 80))
    with socket.socket() as there, pytest.raises(RuntimeError, match="loopback only"):
        there.connect_ex(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match="loopback only"):
        socket.getaddrinfo("example.invalid", 80)


def test_this_machine_is_within_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
