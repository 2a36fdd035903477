/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "console.h"

#include "bits.h"
#include "board.h"
#include "mmio.h"

#define UARTDR (PL011_BASE + 0x000)
#define UARTFR (PL011_BASE + 0x018)
#define UARTFR_TXFF BIT(5) /* the transmit FIFO is full */
#define UARTLCR_H (PL011_BASE + 0x02c)
#define UARTLCR_H_FEN BIT(4)
#define UARTLCR_H_WLEN_8 (3 << 5)
#define UARTCR (PL011_BASE + 0x030)
#define UARTCR_UARTEN BIT(0)
#define UARTCR_TXE BIT(8)
#define UARTIMSC (PL011_BASE + 0x038)

void console_init(void)
{
    write32(UARTCR, 0);
    write32(UARTIMSC, 0);
    write32(UARTLCR_H, UARTLCR_H_WLEN_8 | UARTLCR_H_FEN);
    write32(UARTCR, UARTCR_UARTEN | UARTCR_TXE);
}

void console_putc(char c)
{
    while (read32(UARTFR) & UARTFR_TXFF) {
    }
    write32(UARTDR, (uint8_t)c);
}
