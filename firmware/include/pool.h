/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory for tables and queues, handed out upwards from POOL_BASE and never given back.
 */
#pragma once

#include <stddef.h>

/* Zeroed memory; the size is in bytes and the alignment a power of two. Ends the run when full. */
void *pool_alloc(size_t size, size_t alignment);
