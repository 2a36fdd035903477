/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "a32.h"

#define UART_DR 0x00
#define UART_FR 0x18
#define UART_FR_TXFF BIT(5)
#define UART_CR 0x30
#define UART_CR_ON 0x301

#define GICD_CTLR 0x000
#define GICD_ISENABLER 0x100
#define GICC_CTLR 0x00
#define GICC_PMR 0x04
#define GICC_IAR 0x0c
#define GICC_EOIR 0x10
#define GIC_SPURIOUS 1020

#define SYS_EXIT_EXTENDED 0x20
#define APPLICATION_EXIT 0x20026

exception_hook current_hook;
void (*interrupt_handler)(unsigned id);

static unsigned checks;
static unsigned failures;
static uintptr_t pool_next = POOL_BASE;

/* The compiler may call these. */
void *memset(void *target, int value, size_t size);
void *memcpy(void *target, const void *source, size_t size);

void *memset(void *target, int value, size_t size)
{
    for (volatile uint8_t *at = target; size--; at++)
        *at = (uint8_t)value;
    return target;
}

void *memcpy(void *target, const void *source, size_t size)
{
    volatile uint8_t *to = target;

    for (const uint8_t *from = source; size--; from++, to++)
        *to = *from;
    return target;
}

static void put(char c)
{
    write32(PL011_BASE + UART_CR, UART_CR_ON);
    while (read32(PL011_BASE + UART_FR) & UART_FR_TXFF)
        ;
    write32(PL011_BASE + UART_DR, (uint8_t)c);
}

static void put_number(uint64_t value, unsigned width, bool hex)
{
    char digits[20];
    unsigned count = 0;

    if (hex) {
        do {
            digits[count++] = "0123456789abcdef"[value & 15];
            value >>= 4;
        } while (value);
    } else {
        uint32_t rest = (uint32_t)value;

        do {
            digits[count++] = (char)('0' + rest % 10);
            rest /= 10;
        } while (rest);
    }
    while (count < width)
        digits[count++] = '0';
    while (count)
        put(digits[--count]);
}

static void vprint(const char *format, va_list arguments)
{
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        unsigned width = 0;
        bool wide = false;
        for (format++; (*format >= '0' && *format <= '9') || *format == 'l'; format++) {
            if (*format == 'l')
                wide = true;
            else
                width = 10 * width + (unsigned)(*format - '0');
        }
        switch (*format) {
        case 's':
            for (const char *text = va_arg(arguments, const char *); *text; text++)
                put(*text);
            break;
        case 'c':
            put((char)va_arg(arguments, int));
            break;
        case 'u':
            put_number(va_arg(arguments, uint32_t), width, false);
            break;
        case 'x':
            put_number(wide ? va_arg(arguments, uint64_t) : va_arg(arguments, uint32_t), width,
                       true);
            break;
        default:
            put(*format);
        }
    }
}

void print(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vprint(format, arguments);
    va_end(arguments);
}

bool check(bool condition, const char *format, ...)
{
    va_list arguments;

    checks++;
    failures += !condition;
    print(condition ? "  ok: " : "  FAILED: ");
    va_start(arguments, format);
    vprint(format, arguments);
    va_end(arguments);
    print("\n");
    return condition;
}

void section(const char *title)
{
    print("\n%s\n", title);
}

int test_end(void)
{
    if (failures)
        print("\nFAIL (%u of %u checks)\n", failures, checks);
    else
        print("\nPASS (%u checks)\n", checks);
    return failures ? EXIT_FAIL : EXIT_PASS;
}

void exit(int status)
{
    uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)status};
    register uint32_t operation __asm__("r0") = SYS_EXIT_EXTENDED;
    register uint32_t *parameter __asm__("r1") = block;

    for (;;)
        __asm__ volatile("svc #0x123456" : "+r"(operation) : "r"(parameter) : "memory", "lr");
}

void *pool_alloc(size_t size, size_t alignment)
{
    uintptr_t start = (pool_next + alignment - 1) & ~(alignment - 1);

    pool_next = start + size;
    memset((void *)start, 0, size);
    return (void *)start;
}

void gic_enable(unsigned id)
{
    write32(GICD_BASE + GICD_CTLR, 1);
    write32(GICD_BASE + GICD_ISENABLER + 4 * (id / 32), 1u << id % 32);
    write32(GICC_BASE + GICC_PMR, 0xff);
    write32(GICC_BASE + GICC_CTLR, 1);
}

static void interrupts(void)
{
    for (;;) {
        uint32_t taken = read32(GICC_BASE + GICC_IAR);
        unsigned id = taken & 0x3ff;

        if (id >= GIC_SPURIOUS)
            return;
        if (interrupt_handler)
            interrupt_handler(id);
        write32(GICC_BASE + GICC_EOIR, taken);
    }
}

static void dump(const struct frame *frame, unsigned vector)
{
    static const char *const names[] = {"reset", "undefined instruction", "SVC",
                                        "prefetch abort", "data abort"};

    print("\nUNEXPECTED EXCEPTION: %s at 0x%08x, SPSR 0x%08x\n", names[vector], frame->lr,
          frame->spsr);
    print("  DFSR 0x%x DFAR 0x%08x IFSR 0x%x IFAR 0x%08x\n", cp15_read(0, c5, c0, 0),
          cp15_read(0, c6, c0, 0), cp15_read(0, c5, c0, 1), cp15_read(0, c6, c0, 2));
}

/* Called by the vectors. */
void exception(struct frame *saved, unsigned vector);

void exception(struct frame *saved, unsigned vector)
{
    if (vector == VECTOR_IRQ) {
        interrupts();
        return;
    }
    struct frame frame = *saved;
    frame.vector = vector;
    if (current_hook && current_hook(&frame)) {
        saved->lr = frame.lr;
        saved->spsr = frame.spsr;
        return;
    }
    dump(&frame, vector);
    exit(EXIT_EXCEPTION);
}
