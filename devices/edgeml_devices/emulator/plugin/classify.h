/* Which kind of work an instruction does, from its encoding alone.
 *
 * Encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), sections C4.1 (A64), F3 and F4 (T32, A32);
 * Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, chapter 2 and appendix A. An instruction
 * that computes on an operand in memory counts by what it computes.
 */
#ifndef EDGEML_CLASSIFY_H
#define EDGEML_CLASSIFY_H

#include <stddef.h>
#include <stdint.h>

/* In the order in which they are written; edgeml_devices.emulator.classes has the same. */
enum kind { FP_FMA, INT8_DOT, INT8_MATRIX, WIDENING_MULTIPLY, LOAD_STORE, BRANCH, OTHER, KINDS };

static inline int bits_are(uint32_t word, uint32_t mask, uint32_t value)
{
    return (word & mask) == value;
}

/* Multiply-accumulate by opcode of the group "three different": MLAL, SQDMLAL, MLSL, SQDMLSL, MULL, SQDMULL. */
static inline int widens(uint32_t opcode)
{
    return opcode >= 8 && opcode <= 13;
}

/* The same of the group "by element": 0010 MLAL, 0011 SQDMLAL, 0110 MLSL, 0111 SQDMLSL, 1010 MULL, 1011 SQDMULL. */
static inline int widens_by_element(uint32_t opcode)
{
    return (opcode & 2) != 0 && opcode < 12;
}

static inline enum kind classify_aarch64(uint32_t word)
{
    if (bits_are(word, 0x0a000000, 0x08000000))
        return LOAD_STORE;
    if (bits_are(word, 0x1c000000, 0x14000000))
        return word >> 24 == 0xd5 ? OTHER : BRANCH; /* the exception: hints, barriers and system registers */
    if (bits_are(word, 0xff000000, 0x1f000000)) /* FMADD, FMSUB, FNMADD, FNMSUB */
        return FP_FMA;
    if (bits_are(word, 0xbf20fc00, 0x0e20cc00) || bits_are(word, 0xbf60fc00, 0x0e400c00) /* FMLA, FMLS; halves */
        || bits_are(word, 0xbf80b400, 0x0f801000) || bits_are(word, 0xbfc0b400, 0x0f001000)) /* by element */
        return FP_FMA;
    if (bits_are(word, 0x9fe0fc00, 0x0e809400) || bits_are(word, 0xbfe0fc00, 0x0e809c00) /* SDOT, UDOT; USDOT */
        || bits_are(word, 0x9fc0f400, 0x0f80e000) || bits_are(word, 0xbf40f400, 0x0f00f000)) /* by element; SUDOT */
        return INT8_DOT;
    if (bits_are(word, 0xdfe0f400, 0x4e80a400)) /* SMMLA, UMMLA, USMMLA */
        return INT8_MATRIX;
    if (bits_are(word, 0x9f200c00, 0x0e200000) && widens(word >> 12 & 15))
        return WIDENING_MULTIPLY;
    if (bits_are(word, 0x9f000400, 0x0f000000) && (word >> 22 & 3) != 0 && widens_by_element(word >> 12 & 15))
        return WIDENING_MULTIPLY;
    return OTHER;
}

/* Advanced SIMD data processing of 32-bit Arm, with the bits that A32 and T32 place differently taken out: the sign of
 * the operands (U) stands beside the 24 lower bits, which are those of both. */
static inline enum kind classify_neon(uint32_t low, uint32_t is_unsigned)
{
    uint32_t opcode = low >> 8 & 15, by_element = low >> 6 & 1;

    if ((low & 0x800000) == 0) /* three registers of the same length: VFMA, VFMS; VMLA, VMLS of floats */
        return !is_unsigned && (opcode == 12 || opcode == 13) && (low & 0x10) != 0 ? FP_FMA : OTHER;
    if ((low & 0x300000) == 0x300000 || (low & 0x10) != 0) /* VEXT, VTBL; shifts, constants */
        return OTHER;
    if (!by_element)
        return widens(opcode) ? WIDENING_MULTIPLY : OTHER;
    if (opcode == 1 || opcode == 5) /* VMLA, VMLS of floats by a scalar */
        return FP_FMA;
    return widens_by_element(opcode) ? WIDENING_MULTIPLY : OTHER;
}

/* Scalar floating point: VMLA, VMLS, VNMLA, VNMLS, VFMA, VFMS, VFNMA, VFNMS with single or double precision. */
static inline int is_vfp_fma(uint32_t word)
{
    uint32_t opcode = word >> 20 & 11;

    return bits_are(word, 0x0f000e10, 0x0e000a00) && (opcode == 0 || opcode == 1 || opcode == 9 || opcode == 10);
}

/* Words with the condition 1111, which have the encodings of A32 and T32 in common but for bits 24 to 28. */
static inline enum kind classify_dot_arm(uint32_t word)
{
    if (bits_are(word, 0xffb00f00, 0xfc200d00) || bits_are(word, 0xff800f00, 0xfe000d00)) /* VSDOT, VUDOT; by element */
        return INT8_DOT;
    if (bits_are(word, 0xffb00f00, 0xfca00d00)) /* VUSDOT */
        return INT8_DOT;
    if (bits_are(word, 0xff300f40, 0xfc200c40)) /* VSMMLA, VUMMLA, VUSMMLA */
        return INT8_MATRIX;
    return OTHER;
}

static inline enum kind classify_a32(uint32_t word)
{
    if (word >> 28 == 15) {
        if (bits_are(word, 0x0e000000, 0x02000000))
            return classify_neon(word & 0xffffff, word >> 24 & 1);
        if (bits_are(word, 0x0f100000, 0x04000000) || bits_are(word, 0x0d100000, 0x05100000)) /* VLD, VST; PLD */
            return LOAD_STORE;
        if (bits_are(word, 0x0e000000, 0x0a000000)) /* BLX */
            return BRANCH;
        return classify_dot_arm(word);
    }
    if (is_vfp_fma(word))
        return FP_FMA;
    if (bits_are(word, 0x0e000000, 0x0a000000) || bits_are(word, 0x0fffffd0, 0x012fff10)) /* B, BL; BX, BLX */
        return BRANCH;
    if (bits_are(word, 0x0fe000f0, 0x01600090) || bits_are(word, 0x0f900090, 0x01000080)) /* SMULxy, SMLAxy: 16 bits */
        return OTHER;
    if (bits_are(word, 0x0c000000, 0x04000000) && !bits_are(word, 0x02000010, 0x02000010)) /* LDR, STR; not media */
        return LOAD_STORE;
    if (bits_are(word, 0x0e000000, 0x08000000)) /* LDM, STM */
        return LOAD_STORE;
    if (bits_are(word, 0x0e000000, 0x0c000000) && (word & 0x01a00000) != 0) /* VLDR, VSTR, VLDM, VSTM */
        return LOAD_STORE;
    if (bits_are(word, 0x0e000090, 0x00000090) && (word & 0x60) != 0) /* halfwords and pairs */
        return LOAD_STORE;
    if (bits_are(word, 0x0f8000f0, 0x01800090)) /* LDREX, STREX and the like */
        return LOAD_STORE;
    return OTHER;
}

static inline enum kind classify_t16(uint32_t half)
{
    if (bits_are(half, 0xf000, 0x5000) || bits_are(half, 0xe000, 0x6000) || bits_are(half, 0xe000, 0x8000))
        return LOAD_STORE;
    if (bits_are(half, 0xf800, 0x4800) || bits_are(half, 0xf000, 0xc000)) /* LDR from a pool; LDM, STM */
        return LOAD_STORE;
    if (bits_are(half, 0xff00, 0xbd00) || bits_are(half, 0xff00, 0x4700)) /* POP of the program counter; BX, BLX */
        return BRANCH;
    if (bits_are(half, 0xf600, 0xb400)) /* PUSH, POP */
        return LOAD_STORE;
    if (bits_are(half, 0xf500, 0xb100) || bits_are(half, 0xf000, 0xd000) || bits_are(half, 0xf800, 0xe000))
        return BRANCH; /* CBZ, CBNZ; B with and without a condition */
    return OTHER;
}

static inline enum kind classify_t32(uint32_t word)
{
    if (bits_are(word, 0xef000000, 0xef000000))
        return classify_neon(word & 0xffffff, word >> 28 & 1);
    if (is_vfp_fma(word) && word >> 28 == 14)
        return FP_FMA;
    if (bits_are(word, 0xff100000, 0xf9000000)) /* VLD, VST */
        return LOAD_STORE;
    if (bits_are(word, 0xfe000000, 0xf8000000)) /* single loads and stores */
        return LOAD_STORE;
    if (bits_are(word, 0xffe000e0, 0xe8c00000) || bits_are(word, 0xfff0ffe0, 0xe8d0f000)) /* the latter: TBB, TBH */
        return bits_are(word, 0xfff0ffe0, 0xe8d0f000) ? BRANCH : LOAD_STORE;
    if (bits_are(word, 0xfe000000, 0xe8000000)) /* LDM, STM, LDRD, STRD, exclusive ones */
        return LOAD_STORE;
    if (bits_are(word, 0xfe000000, 0xec000000) && (word & 0x01a00000) != 0) /* VLDR, VSTR, VLDM, VSTM */
        return LOAD_STORE;
    if (bits_are(word, 0xf8008000, 0xf0008000) && (word & 0x5000) != 0) /* BL, BLX, B */
        return BRANCH;
    if (bits_are(word, 0xf800d000, 0xf0008000) && (word >> 23 & 7) != 7) /* B with a condition */
        return BRANCH;
    return classify_dot_arm(word);
}

/* What follows an x86 instruction's prefixes: its map (0 one byte, 1 0F, 2 0F38, 3 0F3A), and whether VEX or EVEX. */
struct opcode {
    int map, vector;
    const uint8_t *at, *end;
};

static inline struct opcode skip_prefixes(const uint8_t *code, size_t size)
{
    struct opcode found = {0, 0, code, code + size};
    const uint8_t *at = code, *end = code + size;

    while (at < end && (*at == 0x66 || *at == 0x67 || *at == 0xf0 || *at == 0xf2 || *at == 0xf3 || *at == 0x2e
                        || *at == 0x36 || *at == 0x3e || *at == 0x26 || *at == 0x64 || *at == 0x65))
        at++;
    if (at < end && (*at & 0xf0) == 0x40)
        at++;
    if (end - at >= 3 && *at == 0xc5) {
        found.map = 1, found.vector = 1;
        at += 2;
    } else if (end - at >= 4 && *at == 0xc4) {
        found.map = at[1] & 31, found.vector = 1;
        at += 3;
    } else if (end - at >= 6 && *at == 0x62) {
        found.map = at[1] & 7, found.vector = 1;
        at += 4;
    } else if (end - at >= 3 && at[0] == 0x0f && (at[1] == 0x38 || at[1] == 0x3a)) {
        found.map = at[1] == 0x38 ? 2 : 3;
        at += 2;
    } else if (end - at >= 2 && at[0] == 0x0f) {
        found.map = 1;
        at += 1;
    }
    found.at = at;
    return found;
}

static inline enum kind classify_x86_plain(uint8_t op, int in_memory, int extension)
{
    if ((op & 0xf0) == 0x70 || (op >= 0xe0 && op <= 0xe3) || op == 0xe8 || op == 0xe9 || op == 0xeb || op == 0xc2
        || op == 0xc3)
        return BRANCH;
    if (op == 0xff && extension >= 2 && extension <= 5) /* CALL, JMP */
        return BRANCH;
    if ((op & 0xf0) == 0x50 || op == 0x68 || op == 0x6a || (op >= 0xa0 && op <= 0xa7) || (op >= 0xaa && op <= 0xaf)
        || op == 0xc9)
        return LOAD_STORE; /* PUSH, POP; MOV with an address; strings; LEAVE */
    if (op == 0x8d) /* LEA computes an address and loads nothing */
        return OTHER;
    if (op < 0x40 && (op & 7) >= 4) /* with a constant: no operand in memory */
        return OTHER;
    if ((op >= 0xb0 && op <= 0xbf) || (op >= 0x90 && op <= 0x9f) || op == 0xa8 || op == 0xa9)
        return OTHER;
    return in_memory ? LOAD_STORE : OTHER;
}

static inline enum kind classify_x86_64(const uint8_t *code, size_t size)
{
    struct opcode found = skip_prefixes(code, size);
    uint8_t op, modrm;

    if (found.at >= found.end)
        return OTHER;
    op = *found.at;
    modrm = found.at + 1 < found.end ? found.at[1] : 0xc0;
    if (found.map == 0)
        return classify_x86_plain(op, modrm < 0xc0, modrm >> 3 & 7);
    if (found.map == 1 && (op & 0xf0) == 0x80)
        return BRANCH;
    if (found.map == 2 && found.vector && op >= 0x96 && (op & 0xf) >= 6 && op <= 0xbf) /* VFMADD and the like */
        return FP_FMA;
    if (found.map == 2 && found.vector && op >= 0x50 && op <= 0x53) /* VPDPBUSD, VPDPWSSD */
        return INT8_DOT;
    if (found.map == 2 && found.vector && op == 0x5e) /* TDPBSSD and the like, of AMX */
        return INT8_MATRIX;
    if ((found.map == 2 && (op == 0x04 || op == 0x28)) || (found.map == 1 && (op == 0xf5 || op == 0xf4)))
        return WIDENING_MULTIPLY; /* PMADDUBSW, PMULDQ; PMADDWD, PMULUDQ */
    if (found.map == 1 && (op == 0x1e || op == 0x1f || op == 0x18 || op == 0x05 || op == 0x0b || op == 0xa2
                           || op == 0x31 || (op & 0xf8) == 0xc8))
        return OTHER; /* NOP, ENDBR64, hints, SYSCALL and others whose next byte is no operand */
    return modrm < 0xc0 ? LOAD_STORE : OTHER;
}

enum encoding { A64, A32, T32, X86_64 };

static inline uint32_t half_at(const uint8_t *code)
{
    return (uint32_t)code[0] | (uint32_t)code[1] << 8;
}

static inline uint32_t word_at(const uint8_t *code)
{
    return half_at(code) | half_at(code + 2) << 16;
}

static inline enum kind classify(enum encoding encoding, const uint8_t *code, size_t size)
{
    if (encoding == X86_64)
        return classify_x86_64(code, size);
    if (encoding == T32 && size == 2)
        return classify_t16(half_at(code));
    if (size != 4)
        return OTHER;
    if (encoding == T32)
        return classify_t32(half_at(code) << 16 | half_at(code + 2));
    return encoding == A32 ? classify_a32(word_at(code)) : classify_aarch64(word_at(code));
}

#endif
