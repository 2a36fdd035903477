/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory functions that the compiler may call on its own.
 */
#pragma once

#include <stddef.h>

void *memcpy(void *restrict target, const void *restrict source, size_t size);
void *memset(void *target, int value, size_t size);
