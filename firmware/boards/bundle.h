/* The bundle that the build put into this firmware (custom_bundle in platformio.ini). */
#ifndef UTTERBIT_BOARDS_BUNDLE_H
#define UTTERBIT_BOARDS_BUNDLE_H

#include <stdint.h>

extern const uint8_t ub_bundle[];
extern const uint8_t ub_bundle_end[];

#endif
