/* A plugin of QEMU, for `make bench`: how often the ESP32-C3 would fetch a line of flash into its cache, which is 16 KB in 8
 * ways of 32 bytes for instructions and data alike (its datasheet, "Cache"). Which line gives way is not said there; here
 * it is the one that was used the longest time ago. The virt machine's rom stands for the flash.
 *
 * Arguments: out=FILE and, each as often as needed, start=ADDRESS, a function to count from, until the next byte goes to
 * the UART; weights=ADDRESS:BYTES, what the second cache need not hold, because it is in SRAM. For each stretch a line is
 * written: different lines of flash, lines fetched, and lines fetched with the weights in SRAM. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What is used of qemu/qemu-plugin.h, which distributions do not package. */
typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };
typedef void tb_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void insn_executed(unsigned int cpu, void *data);
typedef void memory_accessed(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t address, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_translated *call);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, insn_executed *call,
                                            enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, memory_accessed *call,
                                      enum qemu_plugin_cb_flags flags, enum qemu_plugin_mem_rw rw, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

#define FLASH 0x80000000u /* as in virt.ld */
#define FLASH_BYTES (4u * 1024 * 1024)
#define UART 0x10000000u
#define LINE_BYTES 32u
#define WAYS 8u
#define SETS (16u * 1024 / LINE_BYTES / WAYS)
#define MOST 4u /* arguments of a kind */

__attribute__((visibility("default"))) int qemu_plugin_version = UB_PLUGIN_VERSION;
__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count,
                                                               char **arguments);

typedef struct {
  uint64_t line[SETS][WAYS]; /* the most recently used one first; 0: none */
  uint32_t fetched;
} cache;

static cache all, without_weights;
static bool seen[FLASH_BYTES / LINE_BYTES];
static uint32_t different;
static uint64_t starts[MOST], weights[MOST], weight_bytes[MOST];
static uint32_t start_count, weight_count;
static bool counting;
static FILE *out;

static void look_up(cache *in, uint64_t line) {
  uint64_t *const set = in->line[line % SETS];
  uint32_t way = 0;
  while (way < WAYS && set[way] != line) way++;
  if (way == WAYS) {
    in->fetched++;
    way--;
  }
  memmove(set + 1, set, way * sizeof *set);
  set[0] = line;
}

static void touch(uint64_t address) {
  if (address < FLASH || address >= FLASH + FLASH_BYTES) return;
  const uint64_t line = address / LINE_BYTES;
  bool *const known = &seen[(address - FLASH) / LINE_BYTES];
  different += !*known;
  *known = true;
  look_up(&all, line);
  for (uint32_t i = 0; i < weight_count; i++)
    if (address - weights[i] < weight_bytes[i]) return;
  look_up(&without_weights, line);
}

static void begin(void) {
  memset(seen, 0, sizeof seen);
  different = all.fetched = without_weights.fetched = 0;
  counting = true;
}

static void executed(unsigned int cpu, void *data) {
  const uint64_t address = (uintptr_t)data;
  (void)cpu;
  for (uint32_t i = 0; i < start_count; i++)
    if (address == starts[i] && !counting) begin();
  touch(address);
}

static void accessed(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t address, void *data) {
  (void)cpu, (void)info, (void)data;
  if (address == UART && counting) {
    counting = false;
    fprintf(out, "%" PRIu32 " %" PRIu32 " %" PRIu32 "\n", different, all.fetched, without_weights.fetched);
    fflush(out);
  }
  touch(address);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
    struct qemu_plugin_insn *const insn = qemu_plugin_tb_get_insn(tb, i);
    void *const address = (void *)(uintptr_t)qemu_plugin_insn_vaddr(insn);
    qemu_plugin_register_vcpu_insn_exec_cb(insn, executed, QEMU_PLUGIN_CB_NO_REGS, address);
    qemu_plugin_register_vcpu_mem_cb(insn, accessed, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
  }
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count, char **arguments) {
  (void)info;
  for (int i = 0; i < count; i++) {
    if (strncmp(arguments[i], "out=", 4) == 0) {
      out = fopen(arguments[i] + 4, "w");
    } else if (start_count < MOST && sscanf(arguments[i], "start=%" SCNi64, (int64_t *)&starts[start_count]) == 1) {
      start_count++;
    } else if (weight_count < MOST && sscanf(arguments[i], "weights=%" SCNi64 ":%" SCNi64,
                                             (int64_t *)&weights[weight_count],
                                             (int64_t *)&weight_bytes[weight_count]) == 2) {
      weight_count++;
    } else {
      return -1;
    }
  }
  if (out == NULL) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return 0;
}
