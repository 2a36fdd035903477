/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bits.h"
#include "console.h"

struct conversion {
    bool left;      /* '-': pad on the right */
    bool zeros;     /* '0': pad with zeros */
    bool prefix;    /* '#': write 0x before a hexadecimal number */
    bool wide;      /* 'l': the argument has 64 bits */
    unsigned width;
};

static void put_repeated(char c, unsigned count)
{
    while (count--)
        console_putc(c);
}

static void put_text(const char *text, unsigned length, const struct conversion *how)
{
    unsigned padding = how->width > length ? how->width - length : 0;

    if (!how->left)
        put_repeated(' ', padding);
    for (unsigned i = 0; i < length; i++)
        console_putc(text[i]);
    if (how->left)
        put_repeated(' ', padding);
}

static void put_number(uint64_t value, unsigned base, const char *sign,
                       const struct conversion *how)
{
    char text[96];
    char *const end = text + sizeof(text);
    char *start = end;

    do {
        *--start = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);

    unsigned sign_length = 0;
    while (sign[sign_length])
        sign_length++;
    if (how->zeros) {
        while (end - start + sign_length < how->width && start > text + sign_length)
            *--start = '0';
    }
    while (sign_length)
        *--start = sign[--sign_length];
    put_text(start, (unsigned)(end - start), how);
}

static const char *parse(const char *format, struct conversion *how)
{
    for (;; format++) {
        if (*format == '-')
            how->left = true;
        else if (*format == '0')
            how->zeros = true;
        else if (*format == '#')
            how->prefix = true;
        else
            break;
    }
    for (; *format >= '0' && *format <= '9'; format++)
        how->width = how->width * 10 + (unsigned)(*format - '0');
    for (; *format == 'l'; format++)
        how->wide = true;
    return format;
}

void vprintf(const char *format, va_list arguments)
{
    for (; *format; format++) {
        struct conversion how = {0};

        if (*format != '%') {
            console_putc(*format);
            continue;
        }
        format = parse(format + 1, &how);
        switch (*format) {
        case 'c':
            console_putc((char)va_arg(arguments, int));
            break;
        case 's': {
            const char *text = va_arg(arguments, const char *);
            unsigned length = 0;
            while (text[length])
                length++;
            put_text(text, length, &how);
            break;
        }
        case 'd': {
            int64_t value = how.wide ? va_arg(arguments, int64_t) : va_arg(arguments, int);
            put_number(value < 0 ? -(uint64_t)value : (uint64_t)value, 10, value < 0 ? "-" : "",
                       &how);
            break;
        }
        case 'u':
        case 'x': {
            uint64_t value = how.wide ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned);
            put_number(value, *format == 'u' ? 10 : 16, how.prefix ? "0x" : "", &how);
            break;
        }
        case 'p':
            put_number((uintptr_t)va_arg(arguments, void *), 16, "0x", &how);
            break;
        case '\0':
            return;
        default:
            console_putc(*format);
        }
    }
}

void printf(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
}
