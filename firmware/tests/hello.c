/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The smallest image: a line on the console, and the end.
 */
#include "console.h"
#include "semihosting.h"

int main(void)
{
    console_init();
    printf("hello from EL1\nPASS\n");
    return EXIT_PASS;
}
