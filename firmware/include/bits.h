/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fields of registers and of structures in memory.
 *
 * A field is declared once, as a mask: #define STE0_CONFIG BITS(3, 1). field_put() moves a value
 * into place and field_get() takes it out again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A few instructions in line; for a debugger they belong to the line that has the call. */
#define PLAIN_INLINE static inline __attribute__((always_inline, nodebug))

#define BIT(n) (1ul << (n))
#define BITS(msb, lsb) ((~0ul >> (63 - (msb))) & (~0ul << (lsb)))

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The lowest set bit of a mask is also the factor that moves a value to the field. */
PLAIN_INLINE uint64_t field_put(uint64_t mask, uint64_t value)
{
    return (value * (mask & -mask)) & mask;
}

PLAIN_INLINE uint64_t field_get(uint64_t mask, uint64_t word)
{
    return (word & mask) / (mask & -mask);
}

PLAIN_INLINE uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & -alignment;
}
