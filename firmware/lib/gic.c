/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gic.h"

#include "bits.h"
#include "board.h"
#include "mmio.h"

#define IRQ_COUNT 256

/* Distributor: a register holds the bits, bytes or pairs of bits of consecutive interrupts. */
#define GICD_CTLR (GICD_BASE + 0x000)
#define GICD_ISENABLER(irq) (GICD_BASE + 0x100 + 4 * ((irq) / 32))
#define GICD_ICENABLER(irq) (GICD_BASE + 0x180 + 4 * ((irq) / 32))
#define GICD_ICPENDR(irq) (GICD_BASE + 0x280 + 4 * ((irq) / 32))
#define GICD_IPRIORITYR(irq) (GICD_BASE + 0x400 + ((irq) & ~3u))
#define GICD_ITARGETSR(irq) (GICD_BASE + 0x800 + ((irq) & ~3u))
#define GICD_ICFGR(irq) (GICD_BASE + 0xc00 + 4 * ((irq) / 16))
#define GICD_ICFGR_EDGE(irq) (2u << (2 * ((irq) % 16)))

/* The core's interface. */
#define GICC_CTLR (GICC_BASE + 0x000)
#define GICC_PMR (GICC_BASE + 0x004)
#define GICC_IAR (GICC_BASE + 0x00c)
#define GICC_IAR_ID BITS(9, 0)
#define GICC_EOIR (GICC_BASE + 0x010)

#define PRIORITY_LOWEST_PASSED 0xff
#define PRIORITY_DEFAULT 0xa0
#define FIRST_SPECIAL_ID 1020 /* 1023: nothing is pending */

static irq_handler handlers[IRQ_COUNT];

void gic_init(void)
{
    write32(GICD_CTLR, 0);
    for (unsigned irq = 32; irq < IRQ_COUNT; irq += 32) {
        write32(GICD_ICENABLER(irq), ~0u);
        write32(GICD_ICPENDR(irq), ~0u);
    }
    write32(GICD_CTLR, 1);
    write32(GICC_PMR, PRIORITY_LOWEST_PASSED);
    write32(GICC_CTLR, 1);
}

static void write_byte_of(uintptr_t reg, unsigned irq, uint32_t value)
{
    unsigned shift = 8 * (irq % 4);

    write32(reg, (read32(reg) & ~(0xffu << shift)) | value << shift);
}

void gic_enable(unsigned irq, enum gic_trigger trigger, irq_handler handler)
{
    uint32_t level = read32(GICD_ICFGR(irq)) & ~GICD_ICFGR_EDGE(irq);

    handlers[irq] = handler;
    write32(GICD_ICFGR(irq), level | (trigger == GIC_EDGE ? GICD_ICFGR_EDGE(irq) : 0));
    write_byte_of(GICD_IPRIORITYR(irq), irq, PRIORITY_DEFAULT);
    write_byte_of(GICD_ITARGETSR(irq), irq, 1);
    write32(GICD_ISENABLER(irq), 1u << (irq % 32));
}

bool gic_dispatch(void)
{
    uint32_t acknowledged = read32(GICC_IAR);
    unsigned irq = (unsigned)field_get(GICC_IAR_ID, acknowledged);

    if (irq >= FIRST_SPECIAL_ID)
        return false;
    if (irq < IRQ_COUNT && handlers[irq])
        handlers[irq]();
    write32(GICC_EOIR, acknowledged);
    return true;
}
