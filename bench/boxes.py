"""What is measured of boxes: each figure of `incusbox` with what plain Incus does for the
same, by turns. Boxes are named after the run's, and removed."""

import getpass
import os
import subprocess
import sys
import time
from pathlib import Path

RUN = os.environ["IBX_BIN"]
INCUSBOX = str(Path(RUN).with_name("incusbox"))
BOX = os.environ["IBX_BOX"]
IMAGE = os.environ["IBX_IMAGE"]
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def took(*commands):
    """Milliseconds for all of these, one after the other."""
    began = time.perf_counter()
    for command in commands:
        subprocess.run(command, check=True, **QUIET)
    return 1000 * (time.perf_counter() - began)


def by_turns(rounds, ours, theirs):
    times = {ours: [], theirs: []}
    for number in range(rounds):
        for measure_one in [ours, theirs] if number % 2 else [theirs, ours]:
            times[measure_one].append(measure_one())
    return times[ours], times[theirs]


def delete(*names):
    subprocess.run(["incus", "delete", "--force", *names], check=True, **QUIET)


def create():
    def ours():
        name = f"{BOX}-ours"
        time_taken = took([INCUSBOX, "create", name, "--image", IMAGE], [RUN, name, "--", "true"])
        delete(name)
        return time_taken

    def theirs():
        name = f"{BOX}-theirs"
        time_taken = took(["incus", "launch", IMAGE, name], ["incus", "exec", name, "--", "true"])
        delete(name)
        return time_taken

    return by_turns(4, ours, theirs)


def start():
    name = f"{BOX}-start"
    subprocess.run([INCUSBOX, "create", name, "--image", IMAGE], check=True, **QUIET)
    stop = ["incus", "stop", "--force", name]
    user, uid = getpass.getuser(), os.getuid()

    def measured(*commands):
        def measure():
            subprocess.run(stop, check=True, **QUIET)
            return took(*commands)
        return measure

    def by_incus(*command):
        return measured(["incus", "start", name], ["incus", "exec", name, "--", *command])

    def when_there(sign, then):
        """What Incus has to run so that its command finds what ours does."""
        return "sh", "-c", f"until test -e {sign}; do sleep 0.02; done; exec {then}"

    at_once = by_turns(7, measured([RUN, "--mode", "native", name, "--", "true"]), by_incus("true"))
    with_session = by_turns(7, measured([RUN, name, "--", "true"]),
                            by_incus(*when_there(f"/run/user/{uid}/systemd/private", f"su -l {user} -c true")))
    as_root = by_turns(7, measured([RUN, "--root", name, "--", "true"]),
                       by_incus(*when_there("/run/dbus/system_bus_socket", "true")))
    delete(name)
    return at_once, with_session, as_root


def enter():
    """A login shell at the end of its input; below script(1), for both want a terminal."""
    def shell(*command):
        line = " ".join(command)
        return lambda: took(["script", "--quiet", "--return", "--command", f"{line} </dev/null", "/dev/null"])

    return by_turns(40, shell(INCUSBOX, "enter", BOX), shell(RUN, BOX))


def list_of_fifty():
    names = [f"{BOX}-of-{number}" for number in range(49)]
    for name in names:
        subprocess.run(["incus", "create", "--empty", name, "--config", "user.incusbox.box=true"],
                       check=True, **QUIET)
    try:
        return by_turns(10, lambda: took([INCUSBOX, "list"]), lambda: took(["incus", "list"]))
    finally:
        delete(*names)


def measure(add):
    """add(figure, ours, theirs, budget): the times of both in milliseconds."""
    def tell(text):
        print(f"{text} ...", file=sys.stderr, flush=True)

    tell("create")
    add("`create` and a first command; `incus launch` and `incus exec`", *create(), 1.5)
    tell("enter")
    add("`enter`, to the shell's end; `incusbox-run`", *enter(), 1.05)
    tell("start")
    at_once, with_session, as_root = start()
    add("a first command in a stopped box, natively; `incus start` and `incus exec`", *at_once, 1.0)
    add("the same with the user's session; `incus exec` that waits for it", *with_session, 1.0)
    add("the same as root, with the system's bus; likewise", *as_root, 1.0)
    tell("list of 50")
    add("`list` of 50; `incus list`", *list_of_fifty(), 0.5)
