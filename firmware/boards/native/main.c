/* The agent as a process: the line protocol on standard input and output. Argument: a bundle to run instead of the one
 * that was built in. Ends with status 0 at the end of input, 1 if standard output is gone, 2 for a wrong usage. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
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
static ub_agent agent;
static ub_session session;

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

int main(int count, char **arguments) {
  static const ub_board board = {
      .name = "native",
      .reset = "power",
      .write = write_all,
      .microseconds = microseconds_since_start,
  };
  if (count > 2 || (count == 2 && arguments[1][0] == '-')) {
    fprintf(stderr, "usage: %s [BUNDLE]\n%s: at most one argument, the path of an agent bundle, was expected\n",
            arguments[0], arguments[count - 1]);
    return 2;
  }
  const uint8_t *bundle = ub_bundle;
  size_t size = (size_t)(ub_bundle_end - ub_bundle);
  if (count == 2) {
    bundle = bundle_from_file;
    size = load(arguments[1]);
  }

  start = microseconds(NULL);
  ub_status opened = ub_open(&agent, bundle, size, &arena);
  ub_session_start(&session, &board, opened == UB_OK ? &agent : NULL, opened);

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
