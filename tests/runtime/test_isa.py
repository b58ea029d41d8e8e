"""CPU features from what Linux states."""

from __future__ import annotations

import platform
import sys

import pytest

from edgeml_runtime.isa import cpu_features, parse_cpuinfo

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Core(TM) i7
flags\t\t: fpu sse2 avx2 fma avx512_vnni avx_vnni
vmx flags\t: vnmi

processor\t: 1
flags\t\t: another
"""

# Raspberry Pi 5, 64-bit kernel 6.6.
PI_5 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
"""


@pytest.mark.parametrize(
    ("text", "present", "absent"),
    [
        (X86, {"avx2", "avx512_vnni", "avx_vnni"}, {"another", "vnmi", "dotprod"}),
        (PI_5, {"asimd", "asimddp", "dotprod", "fp16", "asimdhp"}, {"avx2", "i8mm"}),
        ("processor : 0\n", set(), {"avx2"}),
        ("", set(), {""}),
    ],
)
def test_features_of_cpuinfo(tmp_path, text, present, absent):
    features = parse_cpuinfo(text.splitlines(keepends=True))
    assert present <= features
    assert not absent & features
    if sys.platform != "darwin":
        (tmp_path / "cpuinfo").write_text(text, encoding="ascii")
        assert cpu_features(str(tmp_path / "cpuinfo")) == features


def test_a_system_that_does_not_say_has_none(tmp_path):
    if sys.platform != "darwin":
        assert cpu_features(str(tmp_path / "missing")) == frozenset()


def test_this_machine():
    expected = {"x86_64": "sse2", "aarch64": "asimd"}.get(platform.machine())
    if sys.platform == "linux" and expected is not None:
        assert expected in cpu_features()
