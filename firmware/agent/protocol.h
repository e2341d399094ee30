/* The device's side of the line protocol, version 1 (docs/protocol.md): bytes in, lines out.
 *
 *   static ub_session session;
 *   ub_session_start(&session, &board, opened == UB_OK ? &agent : NULL, opened);
 *   for (;;) ub_session_feed(&session, bytes, read_some(bytes));
 */
#ifndef UTTERBIT_PROTOCOL_H
#define UTTERBIT_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent.h"
#include "update.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UB_PROTOCOL_VERSION 1
#define UB_MAX_LINE UB_MAX_TEXT /* bytes of a request, without its line end */
#define UB_MAX_REPLY 1536       /* bytes of a reply, without its line end */

/* What a session needs from the board that it runs on. All members stay valid as long as the session. */
typedef struct {
  const char *name;  /* a word: "c3" */
  const char *reset; /* a word: why the board started, "unknown" if it cannot tell */
  uint32_t hz;       /* processor clock; 0 if unknown */
  void *context;     /* handed to every function below */
  void (*write)(void *context, const uint8_t *bytes, size_t length); /* returns when it has taken all of them */
  uint64_t (*microseconds)(void *context); /* since the start; never steps back */
  uint32_t (*stack)(void *context);        /* most bytes of stack ever used; NULL: unknown */
  void (*alive)(void *context);            /* called before a line and a sentence of a self-test; NULL: no watchdog to feed */
  ub_update *update;                       /* takes another agent over the line; NULL: this board cannot */
} ub_board;

typedef struct {
  const ub_board *board;
  const ub_agent *agent; /* NULL: there is no valid bundle, and ... */
  ub_status opened;      /* ... this is why */

  uint32_t requests, errors, crc_errors, repeats, us_max;

  size_t line_length;
  bool line_overlong; /* has had more bytes than fit */
  bool line_broken;   /* has lost bytes */

  bool repeatable; /* reply answers the request with these: */
  uint16_t reply_crc;
  uint32_t reply_seq;
  size_t reply_length; /* with the LF */

  ub_answer answer;
  uint8_t line[UB_MAX_LINE];       /* what cannot be read is refused in its place */
  uint8_t reply[UB_MAX_REPLY + 1]; /* + 1: the LF */
} ub_session;

/* Begins a session and sends the banner. agent: NULL if there is no valid bundle; opened: what ub_open() said. */
void ub_session_start(ub_session *session, const ub_board *board, const ub_agent *agent, ub_status opened);

/* Takes bytes as they come off the line and answers every line that is complete, before it returns. */
void ub_session_feed(ub_session *session, const uint8_t *bytes, size_t length);

/* The board has lost bytes after those that it fed last: the line that they belong to is dropped. */
void ub_session_lost(ub_session *session);

#ifdef __cplusplus
}
#endif

#endif
