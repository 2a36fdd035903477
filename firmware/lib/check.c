/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "console.h"
#include "mmu.h"
#include "semihosting.h"

static unsigned checks;
static unsigned failures;

void test_begin(const char *title)
{
    console_init();
    mmu_enable();
    printf("%s\n", title);
}

void test_section(const char *format, ...)
{
    va_list arguments;

    printf("\n");
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

bool check(bool condition, const char *format, ...)
{
    va_list arguments;

    checks++;
    if (!condition)
        failures++;
    printf(condition ? "  ok: " : "  FAILED: ");
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    return condition;
}

int test_absent(const char *what)
{
    printf("\nABSENT: this image needs %s\n", what);
    return EXIT_ABSENT;
}

int test_end(void)
{
    if (failures) {
        printf("\nFAIL (%u of %u checks)\n", failures, checks);
        return EXIT_FAIL;
    }
    printf("\nPASS (%u checks)\n", checks);
    return EXIT_PASS;
}
