/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System registers of the core (DDI 0487 D24), and its interrupt masks.
 */
#pragma once

#include "bits.h"

#define sysreg_read(name)                                   \
    ({                                                      \
        uint64_t value_;                                    \
        __asm__ volatile("mrs %0, " #name : "=r"(value_)); \
        value_;                                             \
    })

#define sysreg_write(name, value) \
    __asm__ volatile("msr " #name ", %0" : : "r"((uint64_t)(value)) : "memory")

PLAIN_INLINE void irq_enable(void)
{
    __asm__ volatile("msr daifclr, #2" : : : "memory");
}

PLAIN_INLINE void irq_disable(void)
{
    __asm__ volatile("msr daifset, #2" : : : "memory");
}

/* Sleeps until an interrupt is pending, masked or not. */
PLAIN_INLINE void wfi(void)
{
    __asm__ volatile("dsb sy\n wfi" : : : "memory");
}
