/* The partitions agent_0 and agent_1, where agents are kept that came over the line. */
#ifndef UTTERBIT_IDF_SLOTS_H
#define UTTERBIT_IDF_SLOTS_H

#include "update.h"

/* NULL if the flash has no such partitions. */
const ub_storage *agent_slots(void);

#endif
