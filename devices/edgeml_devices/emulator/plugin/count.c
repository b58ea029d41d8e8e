/* A plug-in for QEMU in user mode that counts the guest's instructions by kind, and writes the counts down whenever the
 * guest marks a moment, by asking whether the descriptor MARK less the mark's number, which cannot exist, is a terminal.
 *
 * Arguments: out=FILE, which gets one record of int64_t per mark: its number, then how many instructions of each kind
 * were executed since the start, in all threads. A vCPU that runs beside another one may lose counts, so the guest runs
 * one thread.
 *
 * The interface is documented in QEMU's docs/devel/tcg-plugins.rst; version 1 is that of QEMU 4.2 to 8.x. Its
 * prototypes are declared here, because no distribution packages the header.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify.h"

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct {
    const char *target_name;
    struct {
        int min, cur;
    } version;
    bool system_emulation;
    union {
        struct {
            int smp_vcpus, max_vcpus;
        } system;
    };
} qemu_info_t;

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

typedef void (*tb_trans_cb_t)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*syscall_cb_t)(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2,
                             uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);
typedef void (*udata_cb_t)(qemu_plugin_id_t id, void *userdata);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_trans_cb_t callback);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, syscall_cb_t callback);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, udata_cb_t callback, void *userdata);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, enum qemu_plugin_op op, void *ptr,
                                              uint64_t imm);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t number);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

#define MARK (-4242)
#define MARKS 8

/* ioctl of each architecture, by which isatty(3) asks. */
struct architecture {
    const char *name;
    int64_t ioctl;
};

static const struct architecture known[] = {{"aarch64", 29}, {"arm", 54}, {"x86_64", 16}};

static const struct architecture *target;
static FILE *out;
static uint64_t counts[KINDS];

static void write_record(int64_t mark)
{
    int64_t record[1 + KINDS];

    record[0] = mark;
    for (int kind = 0; kind < KINDS; kind++)
        record[1 + kind] = (int64_t)counts[kind];
    if (fwrite(record, sizeof record, 1, out) != 1) {
        fprintf(stderr, "edgeml: the counts cannot be written\n");
        exit(74); /* EX_IOERR of sysexits(3) */
    }
}

static void on_syscall(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    int64_t mark = MARK - (int64_t)(int32_t)a1;

    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == target->ioctl && mark > 0 && mark < MARKS)
        write_record(mark);
}

/* T32 and A32 share a process. A block with an instruction of two bytes or at an odd halfword is T32; one of words only
 * is T32 if every first halfword begins a long instruction, unless each word also has the condition "always" of A32. */
static enum encoding encoding_of(const struct qemu_plugin_tb *tb, size_t n)
{
    bool long_t32 = true, always = true;

    if (target == &known[0])
        return A64;
    if (target == &known[2])
        return X86_64;
    if (qemu_plugin_tb_vaddr(tb) & 2)
        return T32;
    for (size_t i = 0; i < n; i++) {
        const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const uint8_t *code = qemu_plugin_insn_data(insn);

        if (qemu_plugin_insn_size(insn) != 4)
            return T32;
        long_t32 &= half_at(code) >= 0xe800;
        always &= code[3] >> 4 == 14;
    }
    return long_t32 && !always ? T32 : A32;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb);
    enum encoding encoding = encoding_of(tb, n);
    uint64_t found[KINDS] = {0};

    (void)id;
    for (size_t i = 0; i < n; i++) {
        const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

        found[classify(encoding, qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn))]++;
    }
    for (int kind = 0; kind < KINDS; kind++)
        if (found[kind])
            qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &counts[kind], found[kind]);
}

static void on_exit_of_guest(qemu_plugin_id_t id, void *unused)
{
    (void)id, (void)unused;
    fclose(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(info->target_name, known[i].name) == 0)
            target = &known[i];
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], "out=", 4) == 0)
            out = fopen(argv[i] + 4, "wb");
    if (target == NULL || out == NULL) {
        fprintf(stderr, "edgeml: cannot count for %s, or the file for the counts cannot be opened\n",
                info->target_name);
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_atexit_cb(id, on_exit_of_guest, NULL);
    return 0;
}
