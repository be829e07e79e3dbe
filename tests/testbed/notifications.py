#!/usr/bin/python3
"""notifications.py FILE: a desktop's notification service that shows nothing. It
takes down each call as a JSON object on a line of FILE; `session` runs it."""

import json
import sys

from gi.repository import Gio, GLib

NAME = "org.freedesktop.Notifications"
INTERFACE = Gio.DBusNodeInfo.new_for_xml("""
<node><interface name="org.freedesktop.Notifications">
  <method name="GetCapabilities"><arg type="as" direction="out"/></method>
  <method name="GetServerInformation">
    <arg type="s" direction="out"/><arg type="s" direction="out"/>
    <arg type="s" direction="out"/><arg type="s" direction="out"/>
  </method>
  <method name="Notify">
    <arg type="s" name="app" direction="in"/><arg type="u" name="replaces" direction="in"/>
    <arg type="s" name="icon" direction="in"/><arg type="s" name="summary" direction="in"/>
    <arg type="s" name="body" direction="in"/><arg type="as" name="actions" direction="in"/>
    <arg type="a{sv}" name="hints" direction="in"/><arg type="i" name="timeout" direction="in"/>
    <arg type="u" direction="out"/>
  </method>
  <method name="CloseNotification"><arg type="u" name="id" direction="in"/></method>
  <signal name="NotificationClosed"><arg type="u"/><arg type="u"/></signal>
  <signal name="ActionInvoked"><arg type="u"/><arg type="s"/></signal>
</interface></node>""").interfaces[0]

log = open(sys.argv[1], "w", encoding="utf-8")
last = 0


def called(bus, sender, path, interface, method, parameters, call):
    global last
    answer = None
    values = parameters.unpack()
    if method == "GetCapabilities":
        answer = GLib.Variant("(as)", (["body", "actions", "persistence"],))
    elif method == "GetServerInformation":
        answer = GLib.Variant("(ssss)", ("testbed", "incusbox", "1", "1.2"))
    else:
        names = [argument.name for argument in INTERFACE.lookup_method(method).in_args]
        entry = {"method": method, **dict(zip(names, values))}
        if method == "Notify":
            entry["id"] = entry["replaces"]
            if not entry["id"]:
                last += 1
                entry["id"] = last
            answer = GLib.Variant("(u)", (entry["id"],))
        print(json.dumps(entry, ensure_ascii=False, default=str), file=log, flush=True)
    call.return_value(answer)
    if method == "CloseNotification":
        # 3: closed by the sender's own call.
        bus.emit_signal(None, path, NAME, "NotificationClosed", GLib.Variant("(uu)", (values[0], 3)))


def lost(*_):
    sys.exit("another program has the name " + NAME)


Gio.bus_own_name(
    Gio.BusType.SESSION, NAME, Gio.BusNameOwnerFlags.NONE,
    lambda bus, _: bus.register_object("/org/freedesktop/Notifications", INTERFACE, called, None, None),
    None, lost)
GLib.MainLoop().run()
