/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pool.h"

#include "bits.h"
#include "board.h"
#include "console.h"
#include "semihosting.h"

static uintptr_t pool_next = POOL_BASE;

void *pool_alloc(size_t size, size_t alignment)
{
    uintptr_t start = align_up(pool_next, alignment);

    if (start + size > POOL_BASE + POOL_SIZE) {
        printf("pool: no room for 0x%lx bytes\n", size);
        exit(EXIT_FAIL);
    }
    pool_next = start + size;
    for (uintptr_t word = start; word < pool_next; word += 8)
        *(volatile uint64_t *)word = 0;
    return (void *)start;
}
