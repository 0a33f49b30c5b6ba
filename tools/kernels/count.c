/* A plugin of QEMU's user-mode emulator that counts the guest's instructions, in all and by function.
 *
 * Declares the few functions that it uses itself: Debian's qemu-user comes without the header. VERSION is the plugin
 * interface's, 1 with QEMU 7.2.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t plugin_id;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

#define VISIBLE __attribute__((visibility("default")))
VISIBLE int qemu_plugin_version = VERSION;

/* A function, or what belongs to none. */
struct function {
    struct function *next;
    uint64_t executed;
    char name[];
};
/* A block that was translated: QEMU hands the pointer back whenever it runs. */
struct block {
    struct function *function;
    uint64_t instructions;
};

static struct function *functions;

static struct function *function_named(const char *name)
{
    for (struct function *f = functions; f; f = f->next)
        if (!strcmp(f->name, name))
            return f;
    struct function *f = calloc(1, sizeof *f + strlen(name) + 1);
    if (!f)
        abort();
    strcpy(f->name, name);
    f->next = functions;
    return functions = f;
}

static void executed(unsigned cpu, void *data)
{
    struct block *block = data;
    __atomic_fetch_add(&block->function->executed, block->instructions, __ATOMIC_RELAXED);
}

/* QEMU translates one block at a time. */
static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
    const char *name = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0));
    struct block *block = malloc(sizeof *block);
    if (!block)
        abort();
    block->function = function_named(name ? name : "?");
    block->instructions = qemu_plugin_tb_n_insns(tb);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, block);
}

static void ended(plugin_id id, void *data)
{
    uint64_t all = 0;
    for (struct function *f = functions; f; f = f->next)
        all += f->executed;
    fprintf(stderr, "instructions %llu\n", (unsigned long long)all);
    for (struct function *f = functions; f; f = f->next)
        if (f->executed * 1000 > all)
            fprintf(stderr, "  %llu %s\n", (unsigned long long)f->executed, f->name);
}

VISIBLE int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
