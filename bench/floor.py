"""What the daemon itself takes for a command with pipes: the requests of Incus's API alone, by a
process that runs already and whose connections are open. No client can be faster."""

import json
import os
import re
import socket
import time

BOX = os.environ["IBX_BOX"]
PROJECT = os.environ.get("INCUS_PROJECT", "default")
DIRECTORIES = [os.environ["INCUS_DIR"]] if os.environ.get("INCUS_DIR") else ["/run/incus", "/var/lib/incus"]
STREAMS = ["control", "0", "1", "2"]
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
# An empty message, with a mask of zeros: the end of stdin.
END = b"\x81\x80\0\0\0\0"


def connect():
    paths = [os.environ.get("INCUS_SOCKET"), *(f"{directory}/unix.socket" for directory in DIRECTORIES)]
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(next(path for path in paths if path and os.path.exists(path)))
    return connection


def ask(connection, line, headers="", body=b""):
    connection.sendall(f"{line} HTTP/1.1\r\nHost: incus\r\n{headers}\r\n".encode() + body)


def answer(connection, pattern):
    """What `pattern` finds in the answer, which is read no further."""
    read = b""
    while not (found := re.search(pattern, read, re.S)):
        got = connection.recv(1 << 16)
        assert got, f"the daemon closed the connection behind {read!r}"
        read += got
    return found


def run_true():
    """Runs `true` in the box; how many milliseconds that took."""
    request = json.dumps({"command": ["true"], "environment": {}, "wait-for-websocket": True, "interactive": False})
    asking, waiting, *streams = connections = [connect() for _ in range(2 + len(STREAMS))]
    began = time.perf_counter()
    headers = f"Content-Type: application/json\r\nContent-Length: {len(request)}\r\n"
    ask(asking, f"POST /1.0/instances/{BOX}/exec?project={PROJECT}", headers, request.encode())
    started = json.loads(answer(asking, rb"\r\n\r\n(\{.*\})\s*$").group(1))
    operation, secrets = started["operation"], started["metadata"]["metadata"]["fds"]
    for stream, name in zip(streams, STREAMS):
        ask(stream, f"GET {operation}/websocket?secret={secrets[name]}", UPGRADE)
    ask(waiting, f"GET {operation}/wait")
    answer(streams[1], b"101 Switching")
    streams[1].sendall(END)
    status = answer(waiting, rb'"return":\s*(-?\d+)').group(1)
    taken = 1000 * (time.perf_counter() - began)
    assert status == b"0", f"true ended with {status}"
    for connection in connections:
        connection.close()
    return taken
