/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "string.h"

void *memcpy(void *restrict target, const void *restrict source, size_t size)
{
    unsigned char *to = target;
    const unsigned char *from = source;

    while (size--)
        *to++ = *from++;
    return target;
}

void *memset(void *target, int value, size_t size)
{
    unsigned char *to = target;

    while (size--)
        *to++ = (unsigned char)value;
    return target;
}
