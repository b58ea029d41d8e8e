"""A folder on a device without Python, kept by a shell there that removes it, whatever becomes of the driver.

Written for a POSIX shell with ``mktemp``, ``readlink`` and ``sleep``, as toybox of Android and busybox have them. The
shell's input is the driver's sign of life. Where it ends, or nothing came for a minute, everything that runs in the
folder is killed and the folder is removed. Where the shell itself is killed, the next one removes what it left.
"""

from __future__ import annotations

import shlex
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from edgeml_devices.remote.adb import NO_ADB, adb_words
from edgeml_devices.remote.link import last_line
from edgeml_runtime.errors import TargetError

if TYPE_CHECKING:
    from edgeml_devices.remote.adb import AdbLimits

__all__ = ["Keeper", "kill_script"]

PREFIX = "edgeml-native-"
_FOLDER = "edgeml-folder "
_LEFT = "edgeml-left "
_FAREWELL_S = 30.0

_KILL = """
kill_all() {
  found=
  for p in /proc/[0-9]*; do
    case $(readlink "$p/cwd" 2>/dev/null) in
      "$d"|"$d (deleted)") found=1; kill -9 "${p#/proc/}" 2>/dev/null;;
    esac
  done
  [ -z "$found" ]
}
"""

_KEEP = """
trap '' HUP INT TERM
umask 077
cd /
d=
for b in "$TMPDIR" /data/local/tmp /tmp /var/tmp; do
  [ -n "$b" ] && [ -d "$b" ] && [ -w "$b" ] || continue
  for o in "$b"/@PREFIX@*; do
    k=$(cat "$o/keeper" 2>/dev/null)
    [ -n "$k" ] && [ ! -d "/proc/$k" ] && rm -rf "$o"
  done
  d=$(mktemp -d "$b/@PREFIX@XXXXXX") && break
done
[ -n "$d" ] || { echo "no folder can be made in $TMPDIR /data/local/tmp /tmp /var/tmp" >&2; exit 1; }
d=$(cd "$d" && pwd -P)
echo $$ > "$d/keeper" && : > "$d/alive" || { rm -rf "$d"; exit 1; }
clean() {
  n=0
  while [ "$n" -lt 10 ]; do
    n=$((n + 1))
    kill_all && quiet=1 || quiet=
    rm -rf "$d" 2>/dev/null
    [ -e "$d" ] && { sleep 1; continue; }
    [ -n "$quiet" ] && break
  done
}
(
  cd "$d"
  while rm "$d/alive" 2>/dev/null; do sleep @LOST@; done
  cd /
  clean
  kill -9 $$
) </dev/null >/dev/null 2>&1 &
echo "@FOLDER@$d"
while read -r line; do : > "$d/alive"; done
clean
[ ! -e "$d" ] || echo "@LEFT@$d"
"""


def kill_script(folder: str) -> str:
    """A shell script that kills whatever runs in a folder.

    Args:
        folder: Its path on the device.
    """
    return f"d={shlex.quote(folder)}\n{_KILL}\nkill_all\n:\n"


def _keep_script(lost_after_s: int) -> str:
    filled = {"@PREFIX@": PREFIX, "@FOLDER@": _FOLDER, "@LEFT@": _LEFT, "@LOST@": str(lost_after_s)}
    text = _KILL + _KEEP
    for mark, value in filled.items():
        text = text.replace(mark, value)
    return text


class Keeper:
    """A folder on a device, until it is closed.

    Attributes:
        folder: Its path there.
        left: What the device could not remove; known once it was closed.

    Args:
        name: The target, for messages.
        serial: The device.
        limits: Bounds of the connection.

    Raises:
        TargetError: The device cannot be reached, or there is no folder to write to.
    """

    def __init__(self, name: str, serial: str, limits: AdbLimits) -> None:
        self._name, self._limits = name, limits
        self.left: tuple[str, ...] = ()
        try:
            self._process = subprocess.Popen(
                adb_words(serial, "shell", "-T", _keep_script(limits.lost_after_s)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise TargetError(NO_ADB) from error
        self._ended = threading.Event()
        timer = threading.Timer(limits.connect_s, self._process.kill)
        timer.start()
        try:
            self.folder = self._greeting()
        except BaseException:
            self._process.kill()
            self._release()
            raise
        finally:
            timer.cancel()
        self._beats = threading.Thread(target=self._beat, daemon=True)
        self._beats.start()

    def _greeting(self) -> str:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        for line in self._process.stdout:
            if line.startswith(_FOLDER):
                return line.removeprefix(_FOLDER).strip()
        raise TargetError(f"{self._name}: no folder could be made there ({last_line(self._process.stderr.read())})")

    def _beat(self) -> None:
        assert self._process.stdin is not None
        while not self._ended.wait(self._limits.beat_s):
            with suppress(OSError, ValueError):
                self._process.stdin.write("\n")
                self._process.stdin.flush()

    def close(self) -> None:
        """Have the folder removed, and wait for that; never raises."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._beats.join()
        timer = threading.Timer(_FAREWELL_S, self._process.kill)
        timer.start()
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            with suppress(OSError):
                self._process.stdin.close()
            lines = self._process.stdout.read().splitlines()
            self.left = tuple(line.removeprefix(_LEFT) for line in lines if line.startswith(_LEFT))
        finally:
            timer.cancel()
            self._release()

    def _release(self) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._process.wait()
