/* The agent as one FreeRTOS task of an ESP-IDF firmware (docs/boards.md). Everything that touches the agent runs in that
 * task, one job after the other, so that these functions may be called from any task.
 *
 *   agent_start(NULL);
 *   ub_answer answer;
 *   if (agent_parse("turn on the light", &answer) == UB_OK && agent_understood(&answer, "HassTurnOn")) ...
 *
 * menuconfig, "Utterbit agent": the bundle, and the task's stack, priority and core. */
#ifndef UTTERBIT_AGENT_TASK_H
#define UTTERBIT_AGENT_TASK_H

#include "agent.h"
#include "update.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Creates the task and opens the bundle in it. storage: where other agents than the built-in one are kept, valid from
 * now on; NULL: nowhere. To be called once, and before the functions below. No heap is used.
 * Returns what ub_open() said of the bundle; the task runs in any case. */
ub_status agent_start(const ub_storage *storage);

/* What ub_parse() says of a NUL-terminated sentence of at most UB_MAX_TEXT bytes (longer: UB_ERROR_WORDS), or why there
 * is no valid bundle. Waits for its turn and for the answer: a hung agent trips the task watchdog.
 * The answer's values point into the bundle: they are valid until another one is received into its slot. */
ub_status agent_parse(const char *text, ub_answer *answer);

/* What follows asks an answer of agent_parse(). One of an agent that has been replaced since is not accepted any more. */

/* Whether the answer is accepted and its intent has that name. */
bool agent_understood(const ub_answer *answer, const char *intent);

/* Whether it is accepted and implies that slot with that value, as "turn on the lamp" does "domain", "light". */
bool agent_implies(const ub_answer *answer, const char *slot, const char *value);

/* The span of the slot of that name, or NULL if the answer has none. */
const ub_slot *agent_slot(const ub_answer *answer, const char *slot);

/* What that slot of the sentence `text` means, as JSON: 30, "red"; NULL if it has no value, or the answer no such slot.
 * A number that stands in the sentence as digits is written to `number`. */
const char *agent_value(const char *text, const ub_answer *answer, const char *slot, char number[UB_NUMBER_CHARS]);

/* Runs work(context) in the agent's task, after whatever it is doing, and waits until it has returned. In that task
 * itself it is an ordinary call. What agent.h, protocol.h and update.h declare may be called in there. */
void agent_run(void (*work)(void *context), void *context);

/* The agent's state; only for functions that run in its task. */
ub_update *agent_update(void);

/* Feeds the task watchdog; only in the agent's task. As ub_board's `alive`. */
void agent_alive(void *context);

/* Most bytes of the task's stack ever used. As ub_board's `stack`. */
uint32_t agent_stack(void *context);

#ifdef __cplusplus
}
#endif

#endif
