/* The bundle that this firmware carries, in flash. UB_BUNDLE_FILE is set by ../CMakeLists.txt. */
    .section .rodata.bundle, "a"
    .balign 16
    .globl ub_bundle
    .globl ub_bundle_end
ub_bundle:
    .incbin UB_BUNDLE_FILE
ub_bundle_end:
