"""Kinds of instructions by their encodings, in the C code that the plug-in has them from."""

import ctypes
import subprocess

import pytest

from edgeml_devices.emulator.classes import CLASS_TITLES, ClassCounts
from edgeml_devices.emulator.plugin_build import OPTIONS, compiler, plugin_sources

WRAPPER = """
#include "classify.h"
__attribute__((visibility("default"))) int kind_of(int encoding, const unsigned char *code, unsigned long size)
{
    return classify((enum encoding)encoding, code, size);
}
"""
A64, A32, T32, X86 = range(4)
FMA, DOT, MATRIX, WIDENING, MEMORY, BRANCH, OTHER = CLASS_TITLES

# Words as a disassembler shows them; those of T32 with the first halfword in front.
WORDS = [
    (A64, 0x4E22CC20, FMA, "fmla v0.4s, v1.4s, v2.4s"),
    (A64, 0x4EA2CC20, FMA, "fmls v0.4s, v1.4s, v2.4s"),
    (A64, 0x4F821020, FMA, "fmla v0.4s, v1.4s, v2.s[0]"),
    (A64, 0x4E420C20, FMA, "fmla v0.8h, v1.8h, v2.8h"),
    (A64, 0x4F021020, FMA, "fmla v0.8h, v1.8h, v2.h[0]"),
    (A64, 0x1F020C20, FMA, "fmadd s0, s1, s2, s3"),
    (A64, 0x6E22DC20, OTHER, "fmul v0.4s, v1.4s, v2.4s"),
    (A64, 0x4E829420, DOT, "sdot v0.4s, v1.16b, v2.16b"),
    (A64, 0x6E829420, DOT, "udot v0.4s, v1.16b, v2.16b"),
    (A64, 0x4F82E020, DOT, "sdot v0.4s, v1.16b, v2.4b[0]"),
    (A64, 0x4E829C20, DOT, "usdot v0.4s, v1.16b, v2.16b"),
    (A64, 0x4E82A420, MATRIX, "smmla v0.4s, v1.16b, v2.16b"),
    (A64, 0x6E82A420, MATRIX, "ummla v0.4s, v1.16b, v2.16b"),
    (A64, 0x4E82AC20, MATRIX, "usmmla v0.4s, v1.16b, v2.16b"),
    (A64, 0x0E628020, WIDENING, "smlal v0.4s, v1.4h, v2.4h"),
    (A64, 0x4E628020, WIDENING, "smlal2 v0.4s, v1.8h, v2.8h"),
    (A64, 0x0E22C020, WIDENING, "smull v0.8h, v1.8b, v2.8b"),
    (A64, 0x0F422020, WIDENING, "smlal v0.4s, v1.4h, v2.h[0]"),
    (A64, 0x0F42A020, WIDENING, "smull v0.4s, v1.4h, v2.h[0]"),
    (A64, 0x3DC00020, MEMORY, "ldr q0, [x1]"),
    (A64, 0xA9BF7BFD, MEMORY, "stp x29, x30, [sp, #-16]!"),
    (A64, 0x4C407820, MEMORY, "ld1 {v0.4s}, [x1]"),
    (A64, 0x14000001, BRANCH, "b .+4"),
    (A64, 0x54FFFFE1, BRANCH, "b.ne .-4"),
    (A64, 0xD65F03C0, BRANCH, "ret"),
    (A64, 0xD503201F, OTHER, "nop"),
    (A64, 0x8B020020, OTHER, "add x0, x1, x2"),
    (A64, 0x9B020C20, OTHER, "madd x0, x1, x2, x3"),
    (A32, 0xF2420C54, FMA, "vfma.f32 q8, q1, q2"),
    (A32, 0xF2420D54, FMA, "vmla.f32 q8, q1, q2"),
    (A32, 0xF3420D54, OTHER, "vmul.f32 q8, q1, q2"),
    (A32, 0xEEA10A81, FMA, "vfma.f32 s0, s3, s2"),
    (A32, 0xF2D208A4, WIDENING, "vmlal.s16 q8, d18, d20"),
    (A32, 0xF2D10244, WIDENING, "vmlal.s16 q8, d1, d4[0]"),
    (A32, 0xFC220D44, DOT, "vsdot.s8 q0, q1, q2"),
    (A32, 0xF4420A8D, MEMORY, "vld1.32 {d16, d17}, [r2]!"),
    (A32, 0xE5910000, MEMORY, "ldr r0, [r1]"),
    (A32, 0xE92D4010, MEMORY, "push {r4, lr}"),
    (A32, 0xE1D100B0, MEMORY, "ldrh r0, [r1]"),
    (A32, 0xED910A00, MEMORY, "vldr s0, [r1]"),
    (A32, 0xEAFFFFFE, BRANCH, "b ."),
    (A32, 0xE12FFF1E, BRANCH, "bx lr"),
    (A32, 0xE0810002, OTHER, "add r0, r1, r2"),
    (A32, 0xE0000291, OTHER, "mul r0, r1, r2"),
    (T32, 0xEF420C54, FMA, "vfma.f32 q8, q1, q2"),
    (T32, 0xFF420D54, OTHER, "vmul.f32 q8, q1, q2"),
    (T32, 0xEFD208A4, WIDENING, "vmlal.s16 q8, d18, d20"),
    (T32, 0xF9420A8D, MEMORY, "vld1.32 {d16, d17}, [r2]!"),
    (T32, 0xF8D10004, MEMORY, "ldr.w r0, [r1, #4]"),
    (T32, 0xE9D10100, MEMORY, "ldrd r0, r1, [r1]"),
    (T32, 0xED910A00, MEMORY, "vldr s0, [r1]"),
    (T32, 0xF7FFFFFE, BRANCH, "bl ."),
    (T32, 0xF43FAFFE, BRANCH, "beq.w ."),
    (T32, 0xEB010002, OTHER, "add.w r0, r1, r2"),
    (T32, 0xF04F0000, OTHER, "mov.w r0, #0"),
]
BYTES = [
    (T32, "0868", MEMORY, "ldr r0, [r1]"),
    (T32, "10b5", MEMORY, "push {r4, lr}"),
    (T32, "10bd", BRANCH, "pop {r4, pc}"),
    (T32, "7047", BRANCH, "bx lr"),
    (T32, "fed0", BRANCH, "beq ."),
    (T32, "8818", OTHER, "adds r0, r1, r2"),
    (X86, "c4e271b8c2", FMA, "vfmadd231ps xmm0, xmm1, xmm2"),
    (X86, "c4e275b800", FMA, "vfmadd231ps ymm0, ymm1, [rax]"),
    (X86, "62f2754850c2", DOT, "vpdpbusd zmm0, zmm1, zmm2"),
    (X86, "c4e27550c2", DOT, "{vex} vpdpbusd ymm0, ymm1, ymm2"),
    (X86, "c4e2735ec1", MATRIX, "tdpbssd tmm0, tmm1, tmm1"),
    (X86, "c5f5f5c2", WIDENING, "vpmaddwd ymm0, ymm1, ymm2"),
    (X86, "660f3804c1", WIDENING, "pmaddubsw xmm0, xmm1"),
    (X86, "c5fc1000", MEMORY, "vmovups ymm0, [rax]"),
    (X86, "488b4508", MEMORY, "mov rax, [rbp+8]"),
    (X86, "4889e5", OTHER, "mov rbp, rsp"),
    (X86, "55", MEMORY, "push rbp"),
    (X86, "488d4508", OTHER, "lea rax, [rbp+8]"),
    (X86, "4805ffffff00", OTHER, "add rax, 0xffffff"),
    (X86, "7405", BRANCH, "je .+7"),
    (X86, "0f8405000000", BRANCH, "je .+11"),
    (X86, "ff20", BRANCH, "jmp [rax]"),
    (X86, "c3", BRANCH, "ret"),
    (X86, "f30f1efa", OTHER, "endbr64"),
    (X86, "90", OTHER, "nop"),
    (X86, "4801d8", OTHER, "add rax, rbx"),
]


@pytest.fixture(scope="module")
def kind_of(tmp_path_factory):
    if compiler() is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("classify")
    for name, content in plugin_sources().items():
        (folder / name).write_bytes(content)
    (folder / "wrapper.c").write_text(WRAPPER, encoding="ascii")
    library = folder / "classify.so"
    words = [compiler(), *OPTIONS, "-Wall", "-Wextra", "-Werror", "-o", str(library), str(folder / "wrapper.c")]
    subprocess.run(words, check=True, capture_output=True)
    function = ctypes.CDLL(str(library)).kind_of

    def ask(encoding, code):
        return list(CLASS_TITLES)[function(encoding, code, ctypes.c_ulong(len(code)))]

    return ask


@pytest.mark.parametrize(("encoding", "word", "kind", "text"), WORDS, ids=[f"{row[0]} {row[3]}" for row in WORDS])
def test_words(kind_of, encoding, word, kind, text):
    halves = (word >> 16, word & 0xFFFF)
    code = b"".join(half.to_bytes(2, "little") for half in halves) if encoding == T32 else word.to_bytes(4, "little")
    assert kind_of(encoding, code) == kind, text


@pytest.mark.parametrize(("encoding", "code", "kind", "text"), BYTES, ids=[f"{row[0]} {row[3]}" for row in BYTES])
def test_other_lengths(kind_of, encoding, code, kind, text):
    assert kind_of(encoding, bytes.fromhex(code)) == kind, text


def test_rubbish_is_something(kind_of):
    for encoding in (A64, A32, T32, X86):
        for size in range(16):
            for byte in (0x00, 0x0F, 0x62, 0xC4, 0xC5, 0xFF):
                assert kind_of(encoding, bytes([byte] * size)) in CLASS_TITLES


def test_the_plug_in_compiles_without_warnings(tmp_path):
    if compiler() is None:
        pytest.skip("no C compiler")
    for name, content in plugin_sources().items():
        (tmp_path / name).write_bytes(content)
    words = [
        compiler(),
        *OPTIONS,
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        str(tmp_path / "x.so"),
        str(tmp_path / "count.c"),
    ]
    subprocess.run(words, check=True)


def test_counts_add_up():
    counts = ClassCounts(fp_fma=3, branch=2)
    assert counts.total == 5
    assert ClassCounts.from_dict(counts.to_dict()) == counts
    assert counts + counts == ClassCounts(fp_fma=6, branch=4)
    assert counts - ClassCounts(fp_fma=1, branch=5) == ClassCounts(fp_fma=2)
