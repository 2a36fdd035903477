/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls to the debugger or emulator that runs the image (Arm's semihosting specification, AArch64).
 */
#pragma once

#include <stdint.h>

#define SEMIHOSTING_SYS_WRITEC 0x03
#define SEMIHOSTING_SYS_WRITE0 0x04
#define SEMIHOSTING_SYS_GET_CMDLINE 0x15
#define SEMIHOSTING_SYS_EXIT_EXTENDED 0x20

#define ADP_STOPPED_APPLICATION_EXIT 0x20026

/* One call: the operation's number and its parameter, a value or the address of a block. */
uint64_t semihosting_call(uint64_t operation, uintptr_t parameter);

/* Writes a string to the debugger's console, which is not the UART. */
void semihosting_puts(const char *text);

/* Ends the run with this status; returns never. */
_Noreturn void exit(int status);

#define EXIT_PASS 0
#define EXIT_FAIL 1
#define EXIT_ABSENT 77 /* what the image is about is not there: neither passed nor failed */
#define EXIT_EXCEPTION 99 /* an exception that nothing expected */
