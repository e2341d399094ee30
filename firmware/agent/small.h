/* UB_SMALL: a function that takes little of a sentence's time. GCC and clang compile what is cold for size, GCC
 * with it what only it calls; the rest of the agent is compiled for speed. */
#ifndef UTTERBIT_SMALL_H
#define UTTERBIT_SMALL_H

#if defined(__GNUC__)
#define UB_SMALL __attribute__((cold))
#else
#define UB_SMALL
#endif

#endif
