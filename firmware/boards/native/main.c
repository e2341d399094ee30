/* The agent as a process: the line protocol on standard input and output.
 *
 *   program [BUNDLE] [--flash FILE [--power-loss N]]
 *
 * BUNDLE runs instead of the one that was built in. FILE keeps the two slots for updates; it is made when something is
 * written. For tests, power fails after N steps of writing to the flash (a byte programmed, or half a block erased).
 * SIGUSR1 is its reset button.
 * Ends with status 0 at the end of input, 1 if standard output is gone, 2 for a wrong usage, 3 at the loss of power. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../bundle.h"
#include "protocol.h"

#define MAX_BUNDLE_BYTES (1024 * 1024)

static _Alignas(16) uint8_t bundle_from_file[MAX_BUNDLE_BYTES];
static ub_arena arena;
static ub_session session;
static ub_update update;

static void write_all(void *context, const uint8_t *bytes, size_t length) {
  (void)context;
  while (length > 0) {
    ssize_t written = write(STDOUT_FILENO, bytes, length);
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written < 0) {
      exit(1);
    }
    bytes += written;
    length -= (size_t)written;
  }
}

static uint64_t microseconds(void *context) {
  struct timespec now;
  (void)context;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static uint64_t start;

static uint64_t microseconds_since_start(void *context) { return microseconds(context) - start; }

/* Returns the size of the file, or ends the process. */
static size_t load(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    fprintf(stderr, "%s: %s; expected an agent bundle (`make agent` makes build/home/agent.bundle)\n", path,
            strerror(errno));
    exit(2);
  }
  size_t size = fread(bundle_from_file, 1, sizeof bundle_from_file, file);
  if (ferror(file)) {
    fprintf(stderr, "%s: cannot be read: %s\n", path, strerror(errno));
    exit(2);
  }
  if (fgetc(file) != EOF) {
    fprintf(stderr, "%s: has more than %d bytes, the most that a bundle may have here\n", path, MAX_BUNDLE_BYTES);
    exit(2);
  }
  fclose(file);
  return size;
}

/* ---- Flash: a file, and its image in memory ---- */

#define SLOT_BYTES (512 * 1024)

static _Alignas(16) uint8_t flash[2][SLOT_BYTES];
static const char *flash_path;
static uint64_t steps_left = UINT64_MAX; /* until the loss of power */

/* Writes a part of the image to the file, or ends the process. */
static void save(uint32_t slot, uint32_t offset, size_t length) {
  static int file = -1;
  errno = ENOSPC; /* what it means if fewer bytes are written */
  const off_t at = (off_t)slot * SLOT_BYTES;
  if (file < 0) {
    file = open(flash_path, O_WRONLY | O_CREAT, 0666);
    offset = 0; /* a new file has no slot at all yet */
    length = SLOT_BYTES;
    if (file >= 0 && slot == 1 && pwrite(file, flash[0], SLOT_BYTES, 0) != SLOT_BYTES) {
      file = -1;
    }
  }
  if (file < 0 || pwrite(file, flash[slot] + offset, length, at + offset) != (ssize_t)length) {
    fprintf(stderr, "%s: cannot be written: %s\n", flash_path, strerror(errno));
    exit(2);
  }
}

/* Returns how many of the steps can be done before power fails. */
static uint32_t spend(uint32_t steps) {
  const uint32_t done = steps_left < steps ? (uint32_t)steps_left : steps;
  steps_left -= done;
  return done;
}

static void lose_power(void) {
  fprintf(stderr, "power lost, as --power-loss asked for\n");
  exit(3);
}

static bool erase(void *context, uint32_t slot, uint32_t offset) {
  (void)context;
  const uint32_t done = spend(2);
  memset(flash[slot] + offset, 0xFF, done * (UB_BLOCK_BYTES / 2));
  save(slot, offset, UB_BLOCK_BYTES);
  if (done < 2) {
    lose_power();
  }
  return true;
}

static bool program(void *context, uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t length) {
  (void)context;
  const uint32_t done = spend(length);
  for (uint32_t i = 0; i < done; i++) {
    flash[slot][offset + i] &= bytes[i];
  }
  save(slot, offset, length);
  if (done < length) {
    lose_power();
  }
  return true;
}

static const ub_storage storage = {
    .slots = {flash[0], flash[1]}, .slot_bytes = SLOT_BYTES, .erase = erase, .program = program,
};

static void load_flash(void) {
  memset(flash, 0xFF, sizeof flash);
  FILE *file = fopen(flash_path, "rb");
  if (file == NULL && errno == ENOENT) {
    return;
  }
  if (file == NULL || (fread(flash, 1, sizeof flash, file), ferror(file))) {
    fprintf(stderr, "%s: cannot be read: %s\n", flash_path, strerror(errno));
    exit(2);
  }
  fclose(file);
}

/* ---- Reset: the program starts anew, on the same line and with the same arguments ---- */

static char **all_arguments;

static void reset(int signal_number) {
  signal(signal_number, SIG_IGN); /* until it is wired again: a press meanwhile would end the process */
  execv(all_arguments[0], all_arguments);
  _exit(1);
}

static void wire_reset_button(char **arguments) {
  all_arguments = arguments;
  struct sigaction action = {.sa_handler = reset, .sa_flags = SA_NODEFER}; /* or it would stay blocked afterwards */
  sigaction(SIGUSR1, &action, NULL);
}

/* ---- */

static _Noreturn void explain_usage(const char *program_name, const char *argument) {
  fprintf(stderr, "usage: %s [BUNDLE] [--flash FILE [--power-loss N]]\n%s: was not expected, or lacks its value\n",
          program_name, argument);
  exit(2);
}

static const char *parse_arguments(int count, char **arguments) {
  const char *bundle = NULL;
  for (int i = 1; i < count; i++) {
    const char *argument = arguments[i], *value = i + 1 < count ? arguments[i + 1] : NULL;
    if (strcmp(argument, "--flash") == 0 && value != NULL && flash_path == NULL) {
      flash_path = value;
      i++;
    } else if (strcmp(argument, "--power-loss") == 0 && value != NULL && flash_path != NULL &&
               sscanf(value, "%" SCNu64, &steps_left) == 1) {
      i++;
    } else if (argument[0] != '-' && bundle == NULL) {
      bundle = argument;
    } else {
      explain_usage(arguments[0], argument);
    }
  }
  return bundle;
}

int main(int count, char **arguments) {
  static const ub_board board = {
      .name = "native",
      .reset = "power",
      .write = write_all,
      .microseconds = microseconds_since_start,
      .update = &update,
  };
  const uint8_t *bundle = ub_bundle;
  size_t size = (size_t)(ub_bundle_end - ub_bundle);
  const char *path = parse_arguments(count, arguments);
  if (path != NULL) {
    bundle = bundle_from_file;
    size = load(path);
  }
  if (flash_path != NULL) {
    load_flash();
  }

  signal(SIGPIPE, SIG_IGN); /* write() tells that the output is gone */
  wire_reset_button(arguments);
  start = microseconds(NULL);
  const ub_status opened = ub_update_start(&update, flash_path != NULL ? &storage : NULL, bundle, size, &arena);
  ub_session_start(&session, &board, update.agent, opened);

  for (;;) {
    uint8_t bytes[4096];
    ssize_t length = read(STDIN_FILENO, bytes, sizeof bytes);
    if (length > 0) {
      ub_session_feed(&session, bytes, (size_t)length);
    } else if (length == 0 || errno != EINTR) {
      return 0;
    }
  }
}
