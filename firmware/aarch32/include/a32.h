/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small library for AArch32 images: console, exceptions, coprocessor registers, GICv2, the end.
 *
 * The board is that of ../../include/board.h. Images start in Supervisor mode with the MMU off.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board.h"

/* A few instructions in line; for a debugger they belong to the line that has the call. */
#define PLAIN_INLINE static inline __attribute__((always_inline, nodebug))

#define BIT(n) (1ull << (n))

#define EXIT_PASS 0
#define EXIT_FAIL 1
#define EXIT_EXCEPTION 99

/* -- registers of coprocessor 15, and devices */

#define cp15_read(opc1, crn, crm, opc2)                                              \
    ({                                                                               \
        uint32_t value_;                                                             \
        __asm__ volatile("mrc p15, " #opc1 ", %0, " #crn ", " #crm ", " #opc2        \
                         : "=r"(value_));                                            \
        value_;                                                                      \
    })

#define cp15_write(opc1, crn, crm, opc2, value)                                      \
    __asm__ volatile("mcr p15, " #opc1 ", %0, " #crn ", " #crm ", " #opc2            \
                     :                                                               \
                     : "r"((uint32_t)(value))                                        \
                     : "memory")

#define cp15_read64(opc1, crm)                                                       \
    ({                                                                               \
        uint32_t low_, high_;                                                        \
        __asm__ volatile("mrrc p15, " #opc1 ", %0, %1, " #crm                        \
                         : "=r"(low_), "=r"(high_));                                 \
        (uint64_t)high_ << 32 | low_;                                                \
    })

#define cp15_write64(opc1, crm, value)                                               \
    __asm__ volatile("mcrr p15, " #opc1 ", %0, %1, " #crm                            \
                     :                                                               \
                     : "r"((uint32_t)(value)), "r"((uint32_t)((uint64_t)(value) >> 32)) \
                     : "memory")

PLAIN_INLINE uint32_t read32(uintptr_t address)
{
    uint32_t value;
    __asm__ volatile("ldr %0, [%1]" : "=r"(value) : "r"(address) : "memory");
    return value;
}

PLAIN_INLINE void write32(uintptr_t address, uint32_t value)
{
    __asm__ volatile("str %0, [%1]" : : "r"(value), "r"(address) : "memory");
}

PLAIN_INLINE void barrier(void)
{
    __asm__ volatile("dsb sy\n isb" : : : "memory");
}

/* -- exceptions: what the vectors save */

enum vector { VECTOR_UNDEFINED = 1, VECTOR_SVC, VECTOR_PREFETCH, VECTOR_DATA, VECTOR_IRQ = 6 };

struct frame {
    uint32_t r[13];
    uint32_t lr; /* of the exception: where to return to once it is corrected */
    uint32_t spsr;
    uint32_t vector;
};

/* Called for every exception but interrupts; it may change lr. False: the frame is printed. */
typedef bool (*exception_hook)(struct frame *frame);
extern exception_hook current_hook;

/* Called for interrupts, with their number. */
extern void (*interrupt_handler)(unsigned id);

void gic_enable(unsigned id);

/* -- text, checks and the end */

/* %s %c %u %x (32 bits), %lx (64 bits), a width with leading zeros, and %%. */
void print(const char *format, ...);
bool check(bool condition, const char *format, ...);
void section(const char *title);
int test_end(void);
void exit(int status) __attribute__((noreturn));

/* Zeroed memory, above the image. */
void *pool_alloc(size_t size, size_t alignment);
