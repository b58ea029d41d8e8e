"""From marks to counts."""

import numpy as np
import pytest

from edgeml_devices.emulator.classes import ClassCounts
from edgeml_devices.emulator.counting import read_records
from edgeml_devices.emulator.guest.marks import BEGIN, EMPTY, END, LAYER, WARM_UP
from edgeml_runtime.errors import TargetError

MARK = np.array([0, 0, 0, 0, 4, 2, 6])


class Log:
    """What a plug-in would write: every mark costs the same."""

    def __init__(self):
        self.rows, self.counts = [], np.zeros(7, np.int64)

    def mark(self, number):
        self.rows.append([number, *self.counts])
        self.counts = self.counts + MARK
        return self

    def work(self, **kinds):
        self.counts = self.counts + np.array(ClassCounts(**kinds).values())
        return self

    def empty(self, times=5):
        for _ in range(times):
            self.mark(EMPTY)
        return self

    def call(self, **kinds):
        return self.mark(BEGIN).work(**kinds).mark(END)

    def layer(self, **kinds):
        return self.mark(LAYER).work(**kinds).mark(END)

    def bytes(self):
        return np.array(self.rows, np.int64).tobytes()


def test_the_marks_are_taken_off_and_the_middle_call_is_taken():
    log = Log().empty().work(other=1000)
    for fma in (10, 30, 20):
        log.call(fp_fma=fma, other=5)
    counted = read_records(log.bytes())
    assert counted.calls == (15, 35, 25)
    assert counted.median == ClassCounts(fp_fma=20, other=5)
    assert counted.layers == ()


def test_calls_that_warm_up_are_not_counted():
    log = Log()
    for _ in range(4):
        log.mark(WARM_UP).work(other=500).mark(WARM_UP)
    assert read_records(log.empty().call(fp_fma=7).bytes()).calls == (7,)


def test_a_layer_is_what_comes_with_it():
    log = Log().empty().call(fp_fma=1)
    log.layer(other=7).layer(other=7, fp_fma=40).layer(other=9, fp_fma=40, int8_dot=5)
    assert read_records(log.bytes()).layers == (ClassCounts(fp_fma=40), ClassCounts(other=2, int8_dot=5))


def test_a_beginning_that_takes_less_counts_as_nothing():
    log = Log().empty().call(fp_fma=1).layer(branch=9).layer(branch=3, fp_fma=2)
    assert read_records(log.bytes()).layers == (ClassCounts(fp_fma=2),)


def test_a_call_that_another_one_interrupts_is_left_out():
    log = Log().empty().mark(BEGIN).work(other=999).call(fp_fma=8)
    assert read_records(log.bytes()).calls == (8,)


@pytest.mark.parametrize(
    "records",
    [
        b"",
        b"1234567",
        Log().empty().bytes(),
        Log().call(fp_fma=1).bytes(),
        Log().empty().call(fp_fma=1).bytes()[:-8],
        Log().empty().mark(BEGIN).bytes(),
    ],
    ids=["empty", "no records", "no calls", "no empty marks", "cut off", "a call that never ended"],
)
def test_records_that_cannot_be(records):
    with pytest.raises(TargetError, match="plug-in"):
        read_records(records)
