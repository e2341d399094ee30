/* How the ESP32-C3's registers are reached, and how long they are waited for. */
#ifndef UTTERBIT_C3_REGISTERS_H
#define UTTERBIT_C3_REGISTERS_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define BIT(n) (1u << (n))

/* Most turns of any loop that waits for hardware; each takes some 10 cycles, with a look at the clock some 100. */
#define PATIENCE 1000000u

#endif
