/* From reset to main() on a RISC-V core without an SDK, and the trap handler. The linker scripts define the symbols. */

/* The mark that makes the ESP32-C3's ROM boot directly from flash (its README: esp32c3-direct-boot-example). The ROM
 * jumps to the word behind it. */
    .section .header, "a"
    .word 0xaedb041d
    .word 0xaedb041d

    .section .text.start, "ax"
    .globl _start
_start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    csrci mstatus, 8            /* no interrupts; the C3 has no mie */
    la t0, trap_entry
    csrw mtvec, t0

    la a0, _stack_bottom        /* painted, so that its high-water mark can be read off */
    la a1, _stack_top
    mv sp, a1
    li a2, 0xA5A5A5A5
1:  sw a2, 0(a0)
    addi a0, a0, 4
    bltu a0, a1, 1b

    la a0, _data_start
    la a1, _data_end
    la a2, _data_load
    jal copy
    la a0, _hot_start
    la a1, _hot_end
    la a2, _hot_load
    jal copy
    fence.i
    la a0, _bss_start
    la a1, _bss_end
1:  bgeu a0, a1, 2f
    sw zero, 0(a0)
    addi a0, a0, 4
    j 1b
2:  call main
3:  j 3b

copy:                           /* words from a2 to [a0, a1) */
    bgeu a0, a1, 1f
    lw t0, 0(a2)
    sw t0, 0(a0)
    addi a0, a0, 4
    addi a2, a2, 4
    j copy
1:  ret

/* bool has_mcycle(void): the C3 lacks the standard cycle counter, the simulator has it. A trap lands at the label. */
    .section .text.has_mcycle, "ax"
    .globl has_mcycle
has_mcycle:
    la t0, 1f
    csrrw t1, mtvec, t0
    li a0, 0
    csrr t2, mcycle
    csrr t2, mcycleh
    li a0, 1
    .balign 256                 /* the C3 takes only such addresses in mtvec */
1:  csrw mtvec, t1
    ret

    .section .text.trap, "ax"
    .balign 256
trap_entry:
    csrr a0, mcause
    csrr a1, mepc
    csrr a2, mtval
    la sp, _stack_top           /* it does not return, and the old one may have overflowed */
    call trap
1:  j 1b
