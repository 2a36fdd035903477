/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text for people: a PL011 UART (Arm DDI 0183), and printf over it.
 */
#pragma once

#include <stdarg.h>

/* Sets the UART up: 8 data bits, FIFOs on, no interrupts. */
void console_init(void);

void console_putc(char c);

/*
 * A small printf: %c %s %d %u %x %p %%, with l (64 bits), a width, and the flags 0 - #.
 */
void printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void vprintf(const char *format, va_list arguments);
