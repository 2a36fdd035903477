/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "semihosting.h"

#include "sysreg.h"

uint64_t semihosting_call(uint64_t operation, uintptr_t parameter)
{
    register uint64_t x0 __asm__("x0") = operation;
    register uint64_t x1 __asm__("x1") = parameter;

    __asm__ volatile("hlt #0xf000" : "+r"(x0) : "r"(x1) : "memory");
    return x0;
}

void semihosting_puts(const char *text)
{
    semihosting_call(SEMIHOSTING_SYS_WRITE0, (uintptr_t)text);
}

_Noreturn void exit(int status)
{
    const uint64_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, (uint64_t)status};

    semihosting_call(SEMIHOSTING_SYS_EXIT_EXTENDED, (uintptr_t)block);
    for (;;) {
        irq_disable();
        wfi();
    }
}
