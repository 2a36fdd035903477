/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frame of a test image: main() calls test_begin(), makes checks, and returns test_end().
 *
 * Every check prints one line. The last line of the output is PASS, or FAIL with a count.
 */
#pragma once

#include <stdbool.h>

/* Sets up the console and the MMU, and prints what this image is about. */
void test_begin(const char *title);

/* Prints a heading. */
void test_section(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints "ok: ..." or "FAILED: ..." and counts the failures. Returns the condition. */
bool check(bool condition, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says that this machine lacks what the image is about; returns the exit status for that. */
int test_absent(const char *what);

/* Prints the verdict and returns the exit status. */
int test_end(void);
