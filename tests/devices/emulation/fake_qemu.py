"""Stands for QEMU with the plug-in: runs the guest natively, and writes records as if it had counted.

BEHAVIOUR is replaced by the test that makes a copy of this file.
"""

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time

BEHAVIOUR = {}
SIGNALS = {"illegal": signal.SIGILL, "crash": signal.SIGSEGV, "killed": signal.SIGKILL}
EMPTY, BEGIN, END, LAYER = 1, 2, 3, 4
CLASSES = 7
MARK_COST = 12


def options(words):
    """What stands before the program, and the program with its arguments."""
    found = {}
    while words[0].startswith("-"):
        found[words[0]] = words[1]
        words = words[2:]
    return found, words


def write_records(path, calls, layers, each):
    """Marks with ``each`` instructions of each class between them; every layer adds as many."""
    counts, rows = [0] * CLASSES, []

    def mark(number):
        rows.append((number, *counts))
        counts[-1] += MARK_COST

    def work(times):
        for index, value in enumerate(each):
            counts[index] += value * times

    for _ in range(5):
        mark(EMPTY)
    for _ in range(calls):
        mark(BEGIN)
        work(10)
        mark(END)
    for number in range(layers + 1):
        mark(LAYER)
        work(number)
        mark(END)
    with open(path, "wb") as file:
        file.writelines(struct.pack("<8q", *row) for row in rows)


def main():
    """Behave."""
    given, program = options(sys.argv[1:])
    if "-c" in program and "cpuinfo" in program[-1]:
        if given["-cpu"] not in BEHAVIOUR["cpus"]:
            sys.stderr.write(f"qemu-aarch64: unable to find CPU model '{given['-cpu']}'\n")
            sys.exit(1)
        print(f"processor\t: 0\nFeatures\t: {BEHAVIOUR['cpus'][given['-cpu']]}\nCPU part\t: 0xd08")
        return
    counting = "-plugin" in given
    what = BEHAVIOUR.get("counting" if counting else "newest", "run")
    with open(os.path.join(given["-L"], "proc/cpuinfo"), encoding="ascii") as file:
        assert "CPU part" in file.read()
    # Nothing that a guest sees has the length of something of the host's.
    seen = {name: value for name, value in os.environ.items() if name not in {"LC_CTYPE", "_"}}
    assert not any(os.path.isabs(part) for part in seen.pop("PYTHONPATH").split(":")), seen
    assert {seen.pop("HOME"), seen.pop("PATH")} == {"/", "/usr/bin:/bin"}, seen
    assert not any("/" in value for value in seen.values()), seen
    assert not os.path.isabs(program[0]), program
    assert json.loads(program[-1])["path"].startswith("model."), program
    what = BEHAVIOUR.get(json.loads(program[-1])["variant"], what)
    if what == "slow":
        time.sleep(10)
        with open(BEHAVIOUR["survived"], "w", encoding="ascii"):
            pass
    if what == "hang":
        time.sleep(60)
    if what == "bounded":
        time.sleep(0.5)  # the bound comes after the start
        sys.stderr.write(f"CPU time: {resource.getrlimit(resource.RLIMIT_CPU)}\n")
        sys.exit(1)
    if what in SIGNALS:
        os.kill(os.getpid(), SIGNALS[what])
    if what == "full":
        sys.stderr.write("edgeml: the counts cannot be written\n")
        sys.exit(74)
    if what == "mute":
        sys.exit(0)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPYCACHEPREFIX"}  # saves seconds
    words = [sys.executable, *program[1:]]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    answer = json.loads(done.stdout)
    if "error" not in answer:
        answer["backend_version"] = BEHAVIOUR["versions"][counting]
        if what == "other outputs":
            case = answer["self_test"]["cases"][0]
            case["passed"] = answer["self_test"]["passed"] = case["outputs"][0]["passed"] = False
        if counting:
            out = given["-plugin"].partition("out=")[2]
            write_records(out, answer["calls"], len(answer["layers"].get("names", [])), BEHAVIOUR["each"])
    print(json.dumps(answer))


main()
