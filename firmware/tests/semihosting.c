/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text by semihosting alone: the UART is not touched.
 */
#include "semihosting.h"

int main(void)
{
    const char *text = "one character after the other\n";

    semihosting_puts("semihosting: SYS_WRITE0\n");
    for (; *text; text++)
        semihosting_call(SEMIHOSTING_SYS_WRITEC, (uintptr_t)text);
    semihosting_puts("PASS\n");
    return EXIT_PASS;
}
