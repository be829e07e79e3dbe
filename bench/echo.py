#!/usr/bin/python3
"""echo.py TRIPS CMD [ARG...]: how long one byte takes from the keyboard to CMD on a
terminal and back, in microseconds: one line per round trip.

CMD runs on a terminal of its own, prints `ready`, and then sends back what it reads."""

import fcntl
import os
import pty
import struct
import sys
import termios
import time


def read_until(terminal, mark):
    seen = b""
    while mark not in seen:
        seen += os.read(terminal, 65536)


def main():
    trips, command = int(sys.argv[1]), sys.argv[2:]
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.execvp(command[0], command)
    read_until(terminal, b"ready")
    time.sleep(0.5)
    # Whatever came behind the mark.
    os.set_blocking(terminal, False)
    try:
        os.read(terminal, 65536)
    except BlockingIOError:
        pass
    os.set_blocking(terminal, True)
    times = []
    for _ in range(trips):
        began = time.perf_counter_ns()
        os.write(terminal, b"x")
        read_until(terminal, b"x")
        times.append((time.perf_counter_ns() - began) / 1000)
        time.sleep(0.002)
    for took in times:
        print(f"{took:.1f}")
    os.write(terminal, b"q")
    os.close(terminal)
    os.waitpid(child, 0)


main()
