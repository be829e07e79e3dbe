"""What is measured of the desktop: how long a window takes, and what the switches cost. On an
X server of the run's own that wants a cookie, as a session's does, and in boxes named after
the run's, which are removed."""

import contextlib
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from boxes import BOX, IMAGE, INCUSBOX, QUIET, RUN, delete, took

SWITCHES = ["display", "audio", "bus", "ssh-agent"]
# A font that the X server has itself: what fonts a system has would be measured else.
XTERM = ["xterm", "-fn", "fixed", "-e", "sleep", "60"]
SECONDS = 20  # for a window to come and go


def cookie_file(path, number, cookie):
    subprocess.run(["xauth", "-q", "-f", path, "add", f"{os.uname().nodename}/unix:{number}", ".", cookie],
                   check=True, **QUIET)


@contextlib.contextmanager
def xserver():
    """The environment of a program on it; the server finds the number of the display itself."""
    with tempfile.TemporaryDirectory() as directory:
        cookie, theirs, ours = secrets.token_hex(16), f"{directory}/server", f"{directory}/clients"
        cookie_file(theirs, 0, cookie)
        reading, writing = os.pipe()
        server = subprocess.Popen(["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x800x24", "-nolisten",
                                   "tcp", "-noreset", "-auth", theirs], pass_fds=[writing], **QUIET)
        os.close(writing)
        try:
            with os.fdopen(reading) as pipe:
                number = pipe.readline().strip()
            assert number, "Xvfb did not start"
            cookie_file(ours, number, cookie)
            environment = {**os.environ, "DISPLAY": f":{number}", "XAUTHORITY": ours}
            environment.pop("WAYLAND_DISPLAY", None)
            yield environment
        finally:
            server.terminate()
            server.wait()


class Screen:
    """What is told of windows on the screen."""

    def __init__(self, environment):
        from Xlib import X, display

        # The library reads the cookie's place from the environment of the process.
        os.environ["XAUTHORITY"] = environment["XAUTHORITY"]
        self.mapped, self.gone = X.MapNotify, X.DestroyNotify
        self.display = display.Display(environment["DISPLAY"])
        self.display.screen().root.change_attributes(event_mask=X.SubstructureNotifyMask)
        self.display.sync()

    def wait_for(self, kind):
        end = time.monotonic() + SECONDS
        while (left := end - time.monotonic()) > 0:
            if not self.display.pending_events():
                select.select([self.display], [], [], left)
            elif self.display.next_event().type == kind:
                return
        raise TimeoutError(f"no event {kind} on the X server")


def first_window(environment):
    """From the command to the window of an xterm: of a box that runs, and of the machine."""
    name = f"{BOX}-window"
    subprocess.run([INCUSBOX, "create", name, "--image", IMAGE, "--package", "xterm"], check=True, **QUIET)
    screen = Screen(environment)

    def measure(command):
        began = time.perf_counter()
        client = subprocess.Popen(command, env=environment, **QUIET)
        screen.wait_for(screen.mapped)
        time_taken = 1000 * (time.perf_counter() - began)
        client.terminate()
        screen.wait_for(screen.gone)
        client.wait()
        return time_taken

    try:
        commands = [[RUN, name, "--", *XTERM], XTERM]
        for command in commands:
            measure(command)
        times = [[], []]
        for number in range(15):
            for which in [0, 1] if number % 2 else [1, 0]:
                times[which].append(measure(commands[which]))
        return times
    finally:
        delete(name)


def switching(environment):
    """A switch of a living box, off and on again."""
    name = f"{BOX}-switch"
    subprocess.run([INCUSBOX, "create", name, "--image", IMAGE], check=True, env=environment, **QUIET)
    try:
        return [took([INCUSBOX, "set", name, f"display={state}"]) for _ in range(10) for state in ["off", "on"]]
    finally:
        delete(name)


def cost_of_switches(environment):
    """`true` in a box with the session's four switches on, and in one with them off. Half-way the boxes change
    roles: what makes one of them the faster one does not count."""
    names = [f"{BOX}-{number}" for number in range(2)]
    for name in names:
        subprocess.run([INCUSBOX, "create", name, "--image", IMAGE], check=True, env=environment, **QUIET)
    times = {"on": [], "off": []}

    def run(name):
        began = time.perf_counter()
        subprocess.run([RUN, name, "--", "true"], check=True, env=environment, **QUIET)
        return 1000 * (time.perf_counter() - began)

    try:
        for roles in [("on", "off"), ("off", "on")]:
            for name, state in zip(names, roles):
                for switch in SWITCHES:
                    subprocess.run([INCUSBOX, "set", name, f"{switch}={state}"], check=True, **QUIET)
                run(name), run(name)
            for number in range(60):
                for which in [0, 1] if number % 2 else [1, 0]:
                    times[roles[which]].append(run(names[which]))
        return times["on"], times["off"]
    finally:
        delete(*names)


def box_has_packages():
    update = ["apt-get", "-qq", "update", "--option=APT::Update::Error-Mode=any"]
    return subprocess.run(["incus", "exec", BOX, "--", "timeout", "60", *update], **QUIET).returncode == 0


def measure(add_pair, add_difference, add_median):
    """Each takes a figure, the times in milliseconds, and the budget."""
    def tell(text):
        print(text, file=sys.stderr, flush=True)

    lacks = [name for name in ["Xvfb", "xauth", "xterm"] if not shutil.which(name)]
    if lacks:
        tell(f"nothing of the desktop is measured, for this machine lacks: {', '.join(lacks)}")
        return
    with xserver() as environment:
        tell("a switch ...")
        add_median("a switch of a living box, `set display=…`", switching(environment), 300)
        tell("true with the session's switches and without ...")
        add_pair("`true` with the session's four switches on; with them off", *cost_of_switches(environment), 1.05)
        if not box_has_packages():
            tell("no window is measured, for boxes reach no packages")
            return
        tell("first window ...")
        add_difference("the window of an xterm; of the same on the host", *first_window(environment), 150)
