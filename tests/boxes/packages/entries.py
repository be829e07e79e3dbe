"""In a box: reads entries apart from incusbox, puts a stand-in where each program would be, and
writes what was read as JSON, a line for each."""

import json
import os
import shlex
import shutil

BASE = "/usr/share/applications"
STAND_IN = "/usr/local/lib/stand-in"
ESCAPES = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def unescape(text):
    out, letters = "", iter(text)
    for letter in letters:
        if letter == "\\":
            after = next(letters, "")
            out += ESCAPES.get(after, letter + after)
        else:
            out += letter
    return out


def read(path):
    keys, group = {}, None
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line.startswith("["):
                group = line
            elif group == "[Desktop Entry]" and "=" in line and not line.startswith("#"):
                key, value = line.split("=", 1)
                keys[key.rstrip()] = unescape(value.strip())
    return keys


def stand_in(program):
    """Returns whether the stand-in is what the program's name leads to."""
    if not shutil.which(program):
        path = program if program.startswith("/") else "/usr/local/bin/" + program
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.lexists(path):
            os.symlink(STAND_IN, path)
    return os.path.realpath(shutil.which(program) or "/") == STAND_IN


with open(STAND_IN, "w", encoding="utf-8") as script:
    script.write("#!/bin/sh\nfor word; do printf '<%s>' \"$word\"; done\n")
os.chmod(STAND_IN, 0o755)
for name in sorted(os.listdir(BASE)):
    path = os.path.join(BASE, name)
    if not name.endswith(".desktop"):
        continue
    keys = read(path)
    words = shlex.split(keys.get("Exec", ""))
    if keys.get("TryExec"):
        stand_in(keys["TryExec"])
    if keys.get("Path"):
        os.makedirs(keys["Path"], exist_ok=True)
    print(json.dumps({
        "id": name,
        "path": path,
        "is_program": keys.get("Type") == "Application" and keys.get("Hidden") != "true",
        "icon": keys.get("Icon", ""),
        "name": keys.get("Name", ""),
        "words": words,
        "is_stand_in": bool(words) and stand_in(words[0]),
    }))
