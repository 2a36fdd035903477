/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The smallest AArch32 image: a line on the console and a clean end. */
#include "a32.h"

int main(void)
{
    print("hello from PL1\nPASS\n");
    return 0;
}
