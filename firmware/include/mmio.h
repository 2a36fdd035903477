/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device registers, and the barriers between them and memory that a device reads (DDI 0487 B2.3).
 *
 * Each access is one plain load or store, whatever the compiler would like to do with it.
 */
#pragma once

#include "bits.h"

PLAIN_INLINE uint32_t read32(uintptr_t address)
{
    uint32_t value;
    __asm__ volatile("ldr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
    return value;
}

PLAIN_INLINE void write32(uintptr_t address, uint32_t value)
{
    __asm__ volatile("str %w0, [%1]" : : "r"(value), "r"(address) : "memory");
}

PLAIN_INLINE uint64_t read64(uintptr_t address)
{
    uint64_t value;
    __asm__ volatile("ldr %0, [%1]" : "=r"(value) : "r"(address) : "memory");
    return value;
}

PLAIN_INLINE void write64(uintptr_t address, uint64_t value)
{
    __asm__ volatile("str %0, [%1]" : : "r"(value), "r"(address) : "memory");
}

/* All earlier accesses are complete before anything that follows. */
PLAIN_INLINE void dsb(void)
{
    __asm__ volatile("dsb sy" : : : "memory");
}

PLAIN_INLINE void isb(void)
{
    __asm__ volatile("isb" : : : "memory");
}

/* Earlier writes to memory are seen by a device before a later write to its registers. */
PLAIN_INLINE void dma_write_barrier(void)
{
    __asm__ volatile("dsb st" : : : "memory");
}

/* Reads of memory that follow come after earlier reads of registers. */
PLAIN_INLINE void dma_read_barrier(void)
{
    __asm__ volatile("dsb ld" : : : "memory");
}
