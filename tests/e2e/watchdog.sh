#!/bin/bash
# SPDX-License-Identifier: MIT
#
# watchdog: systemd is told READY, STATUS and STOPPING; the watchdog is fed by an idle daemon and a
# working one, and starves when a step never ends.
. tests/e2e/lib.sh

python3 - "$BUILD" "$SCRATCH" << 'PY'
import os, signal, socket, subprocess, sys, time

build, scratch = sys.argv[1:3]
path = scratch + "/notify"
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(path)
env = dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC="100000")
door = scratch + "/wd.sock"


def start(*options):
    return subprocess.Popen([build + "/llmd", "--engine", "null", "--socket", door, "--quiet",
                             *options], env=env)


def wait_for(word, seconds=20):
    """Messages up to and including the first that has the word; None when it does not come."""
    end, seen = time.monotonic() + seconds, []
    while time.monotonic() < end:
        notify.settimeout(max(0.01, end - time.monotonic()))
        try:
            seen.append(notify.recv(4096).decode())
        except socket.timeout:
            return None
        if word in seen[-1]:
            return seen
    return None


def burst(n, osl):
    return subprocess.Popen([build + "/tests/e2e/burst", "--connect", door, "--n", str(n), "--osl",
                             str(osl), "--vocab", "49152"], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


p = start("--null-step-us", "5000")
try:
    assert "READY=1\nSTATUS=serving null" in (wait_for("READY=1") or ["nothing"])[-1]
    for _ in range(3):
        assert wait_for("WATCHDOG=1"), "an idle daemon does not ping"
    client = burst(1, 200)
    # Not all of them are read at once: a full queue must not stop the daemon.
    for _ in range(3):
        assert wait_for("WATCHDOG=1"), "a working daemon does not ping"
    assert client.wait(60) == 0
    wait_for("nothing has this word", 0.2)  # room in our queue again
    p.send_signal(signal.SIGTERM)
    assert wait_for("STOPPING=1"), "no STOPPING"
    assert p.wait(20) == 0
finally:
    p.kill()

p = start("--fault", "step:stall:5")
try:
    assert wait_for("READY=1")
    client = burst(1, 200)
    # Whatever was sent before the stall is read; then there must be silence.
    while wait_for("WATCHDOG=1", 1):
        pass
    assert p.poll() is None, "the daemon died instead of hanging"
    assert wait_for("WATCHDOG=1", 1) is None, "a hung step feeds the watchdog"
finally:
    p.kill()
    p.wait()
assert client.wait(20) != 0
PY
finish
