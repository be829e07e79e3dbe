"""What is measured of exports: the entries and icons of real packages, 150 of them, without the
programs, in a box; and a shim against what it stands for."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = os.environ["IBX_BIN"]
INCUSBOX = str(Path(RUN).with_name("incusbox"))
BOX = os.environ["IBX_BOX"]
IMAGE = os.environ["IBX_IMAGE"]
# Of the tests; `make bench` puts them beside this.
PACKAGES = Path(__file__).resolve().parent / "packages"
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
PROGRAMS = 150
# Keeps that many entries, and those that menus show.
REDUCE = f"cd /usr/share/applications; grep -lZ '^NoDisplay *= *true' * | xargs -0r rm -r; ls | tail -n +{PROGRAMS + 1} | xargs -r rm -r"


def took(command, environment=None):
    began = time.perf_counter()
    subprocess.run(command, check=True, env=environment, **QUIET)
    return 1000 * (time.perf_counter() - began)


def root(name, script, stdin=b""):
    command = [RUN, "--root", "--cwd", "/", name, "--", *script]
    return subprocess.run(command, input=stdin, capture_output=True, check=False).returncode == 0


def fill(name):
    subprocess.run([INCUSBOX, "create", name, "--image", IMAGE, "--home", "none"], check=True, **QUIET)
    names = (PACKAGES / "names").read_bytes()
    return (root(name, ["sh", "-c", (PACKAGES / "unpack").read_text()], names)
            and root(name, ["python3", "-c", (PACKAGES / "entries.py").read_text()])
            and root(name, ["sh", "-c", REDUCE]))


def desktop(scratch, at):
    """A desktop of its own, with nothing on it."""
    place = Path(scratch) / str(at)
    return dict(os.environ, XDG_DATA_HOME=str(place / "share"), XDG_STATE_HOME=str(place / "state"))


def shim(scratch, add_pair):
    """200 calls of each, by turns."""
    directory = Path(scratch) / "bin"
    subprocess.run([INCUSBOX, "export", BOX, "--bin", "true", "--export-path", str(directory)],
                   check=True, env=desktop(scratch, "shim"), **QUIET)
    commands = [[str(directory / "true")], [RUN, BOX, "--", "/usr/bin/true"]]
    times = [[], []]
    for number in range(200):
        for which in [0, 1] if number % 2 else [1, 0]:
            times[which].append(took(commands[which]))
    add_pair("a shim of `true`, 200 times; `incusbox-run`", *times, 1.05)


def measure(add_pair, add_median):
    """Each takes a figure, the times in milliseconds, and the budget."""
    def tell(text):
        print(text, file=sys.stderr, flush=True)

    name = f"{BOX}-exports"
    # Below the home, which is on a disk.
    scratch = tempfile.mkdtemp(dir=Path.home())
    try:
        tell("a shim ...")
        shim(scratch, add_pair)
        tell("150 programs ...")
        if not fill(name):
            tell("no export is measured, for boxes reach no packages")
            return
        export = [INCUSBOX, "export", name, "--all-apps"]
        took(export, desktop(scratch, "warm"))
        rounds = range(10)
        add_median(f"`export` of {PROGRAMS} programs", [took(export, desktop(scratch, at)) for at in rounds], 2000)
        add_median("the same with nothing changed", [took(export, desktop(scratch, at)) for at in rounds], 100)
        apps = [INCUSBOX, "apps", name]
        add_median(f"`apps` of a box with {PROGRAMS} programs", [took(apps, desktop(scratch, 0)) for _ in rounds], 300)
    finally:
        shutil.rmtree(scratch)
        subprocess.run(["incus", "delete", "--force", name], check=False, **QUIET)
