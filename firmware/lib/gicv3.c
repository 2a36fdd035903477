/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gicv3.h"

#include "board.h"
#include "mmio.h"
#include "pool.h"
#include "sysreg.h"

#define IRQ_COUNT 256

#define GICD_CTLR (GICD_BASE + 0x0000)
#define GICD_CTLR_GROUPS_ARE 0x13 /* both groups, affinity routing */
#define GICD_TYPER (GICD_BASE + 0x0004)
#define GICD_TYPER_LPIS BIT(17)
#define GICD_IROUTER(irq) (GICD_BASE + 0x6000 + 8 * (irq))

#define GICR_BASE 0x080a0000ul
#define GICR_CTLR (GICR_BASE + 0x0000)
#define GICR_CTLR_ENABLE_LPIS BIT(0)
#define GICR_WAKER (GICR_BASE + 0x0014)
#define GICR_WAKER_SLEEP BIT(1)
#define GICR_WAKER_ASLEEP BIT(2)
#define GICR_PROPBASER (GICR_BASE + 0x0070)
#define GICR_PENDBASER (GICR_BASE + 0x0078)
#define GICR_PENDBASER_PTZ BIT(62)
#define SGI_BASE (GICR_BASE + 0x10000)

/* At the same places in the distributor (irq 32 and up) and in SGI_base (up to 31). */
#define FRAME(irq) ((irq) < 32 ? SGI_BASE : GICD_BASE)
#define IGROUPR(irq) (FRAME(irq) + 0x080 + 4 * ((irq) / 32))
#define ISENABLER(irq) (FRAME(irq) + 0x100 + 4 * ((irq) / 32))
#define IPRIORITYR(irq) (FRAME(irq) + 0x400 + ((irq) & ~3u))
#define ICFGR(irq) (FRAME(irq) + 0xc00 + 4 * ((irq) / 16))
#define ICFGR_EDGE(irq) (2u << (2 * ((irq) % 16)))

#define GITS_CTLR (GITS_BASE + 0x0000)
#define GITS_CBASER (GITS_BASE + 0x0080)
#define GITS_CWRITER (GITS_BASE + 0x0088)
#define GITS_CREADR (GITS_BASE + 0x0090)
#define GITS_BASER(n) (GITS_BASE + 0x0100 + 8 * (n))
#define GITS_BASER_TYPE BITS(58, 56)
#define GITS_BASER_TYPE_DEVICES 1
#define GITS_BASER_TYPE_COLLECTIONS 4
#define GITS_BASER_SIZE BITS(7, 0)
#define GITS_BASER_PAGE_64K field_put(BITS(9, 8), 2)
#define GITS_VALID BIT(63)

#define ITS_MOVI 0x01
#define ITS_INT 0x03
#define ITS_CLEAR 0x04
#define ITS_SYNC 0x05
#define ITS_MAPD 0x08
#define ITS_MAPC 0x09
#define ITS_MAPTI 0x0a
#define ITS_INV 0x0c
#define ITS_INVALL 0x0d
#define ITS_DISCARD 0x0f

#define ID_BITS 16
#define PRIORITY 0xa0
#define LPI_ENABLED 1
#define QUEUE_SIZE 0x1000
#define COMMAND_SIZE 32
#define ITT_SIZE 0x1000
#define SPECIAL_FIRST 1020
#define SPECIAL_LAST 1023

/* ICC_* by their encodings, for assemblers that lack the names. */
#define ICC_PMR_EL1 s3_0_c4_c6_0
#define ICC_IAR1_EL1 s3_0_c12_c12_0
#define ICC_EOIR1_EL1 s3_0_c12_c12_1
#define ICC_SGI1R_EL1 s3_0_c12_c11_5
#define ICC_SRE_EL1 s3_0_c12_c12_5
#define ICC_IGRPEN1_EL1 s3_0_c12_c12_7
#define icc_read(name) icc_read_(name)
#define icc_read_(name) sysreg_read(name)
#define icc_write(name, value) icc_write_(name, value)
#define icc_write_(name, value) sysreg_write(name, value)

static irq_handler handlers[IRQ_COUNT];
static irq_handler lpi_handlers[LPI_COUNT];
static volatile uint8_t *configuration;
static volatile uint64_t *queue;
static uint64_t queue_at;

bool gicv3_here(void)
{
    return field_get(BITS(27, 24), sysreg_read(id_aa64pfr0_el1)) != 0;
}

static void core_init(void)
{
    write32(GICR_WAKER, read32(GICR_WAKER) & ~(uint32_t)GICR_WAKER_SLEEP);
    while (read32(GICR_WAKER) & GICR_WAKER_ASLEEP)
        ;
    icc_write(ICC_SRE_EL1, 1);
    isb();
    icc_write(ICC_PMR_EL1, 0xff);
    icc_write(ICC_IGRPEN1_EL1, 1);
    isb();
}

static void lpis_init(void)
{
    configuration = pool_alloc((1ul << ID_BITS) - FIRST_LPI, 0x1000);
    write64(GICR_PROPBASER, (uintptr_t)configuration | (ID_BITS - 1));
    write64(GICR_PENDBASER,
            (uintptr_t)pool_alloc((1ul << ID_BITS) / 8, 0x10000) | GICR_PENDBASER_PTZ);
    dsb();
    write32(GICR_CTLR, GICR_CTLR_ENABLE_LPIS);
}

static void table_init(unsigned n)
{
    uint64_t type = field_get(GITS_BASER_TYPE, read64(GITS_BASER(n)));
    uint64_t pages = type == GITS_BASER_TYPE_DEVICES ? 16 : 1;

    if (type != GITS_BASER_TYPE_DEVICES && type != GITS_BASER_TYPE_COLLECTIONS)
        return;
    write64(GITS_BASER(n), (uintptr_t)pool_alloc(pages << 16, 0x10000) | GITS_BASER_PAGE_64K |
                               field_put(GITS_BASER_SIZE, pages - 1) | GITS_VALID);
}

static void its_command(uint64_t w0, uint64_t w1, uint64_t w2)
{
    volatile uint64_t *slot = &queue[queue_at / 8];

    slot[0] = w0;
    slot[1] = w1;
    slot[2] = w2;
    slot[3] = 0;
    dma_write_barrier();
    queue_at = (queue_at + COMMAND_SIZE) % QUEUE_SIZE;
    write64(GITS_CWRITER, queue_at);
    while (read64(GITS_CREADR) != queue_at)
        ;
}

/* All that came before has its effect when this one was executed. */
static void its_sync(void)
{
    its_command(ITS_SYNC, 0, 0);
}

static void its_init(void)
{
    write32(GITS_CTLR, 0);
    for (unsigned n = 0; n < 8; n++)
        table_init(n);
    queue = pool_alloc(QUEUE_SIZE, QUEUE_SIZE);
    queue_at = 0;
    write64(GITS_CBASER, (uintptr_t)queue | GITS_VALID);
    write64(GITS_CWRITER, 0);
    dsb();
    write32(GITS_CTLR, 1);
    its_command(ITS_MAPC, 0, GITS_VALID); /* collection 0 goes to processor 0 */
    its_invalidate_all();
}

bool gicv3_init(void)
{
    write32(GICD_CTLR, GICD_CTLR_GROUPS_ARE);
    core_init();
    if (!(read32(GICD_TYPER) & GICD_TYPER_LPIS))
        return false;
    lpis_init();
    its_init();
    return true;
}

void gicv3_enable(unsigned irq, enum gic_trigger trigger, irq_handler handler)
{
    uint32_t bit = 1u << (irq % 32), shift = 8 * (irq % 4);
    uint32_t level = read32(ICFGR(irq)) & ~ICFGR_EDGE(irq);

    handlers[irq] = handler;
    write32(IGROUPR(irq), read32(IGROUPR(irq)) | bit);
    write32(ICFGR(irq), level | (trigger == GIC_EDGE ? ICFGR_EDGE(irq) : 0));
    write32(IPRIORITYR(irq),
            (read32(IPRIORITYR(irq)) & ~(0xffu << shift)) | (uint32_t)PRIORITY << shift);
    if (irq >= 32)
        write64(GICD_IROUTER(irq), 0);
    write32(ISENABLER(irq), bit);
}

static void handle(unsigned irq)
{
    if (irq < IRQ_COUNT && handlers[irq])
        handlers[irq]();
    else if (irq >= FIRST_LPI && irq < FIRST_LPI + LPI_COUNT && lpi_handlers[irq - FIRST_LPI])
        lpi_handlers[irq - FIRST_LPI]();
}

bool gicv3_dispatch(void)
{
    unsigned irq = (unsigned)icc_read(ICC_IAR1_EL1);

    dsb();
    if (irq >= SPECIAL_FIRST && irq <= SPECIAL_LAST)
        return false;
    handle(irq);
    icc_write(ICC_EOIR1_EL1, irq);
    isb();
    return true;
}

void gicv3_send_sgi(unsigned irq)
{
    icc_write(ICC_SGI1R_EL1, (uint64_t)irq << 24 | 1);
    isb();
}

void lpi_configure(unsigned lpi, bool enabled, irq_handler handler)
{
    lpi_handlers[lpi - FIRST_LPI] = handler;
    configuration[lpi - FIRST_LPI] = PRIORITY | (enabled ? LPI_ENABLED : 0);
    dsb();
}

void its_map_device(uint32_t device, unsigned event_bits)
{
    uintptr_t itt = (uintptr_t)pool_alloc(ITT_SIZE, ITT_SIZE);

    its_command((uint64_t)device << 32 | ITS_MAPD, event_bits - 1, itt | GITS_VALID);
    its_sync();
}

void its_unmap_device(uint32_t device)
{
    its_command((uint64_t)device << 32 | ITS_MAPD, 0, 0);
    its_sync();
}

void its_map_event(uint32_t device, uint32_t event, unsigned lpi)
{
    its_command((uint64_t)device << 32 | ITS_MAPTI, (uint64_t)lpi << 32 | event, 0);
    its_invalidate(device, event);
}

void its_interrupt(uint32_t device, uint32_t event)
{
    its_command((uint64_t)device << 32 | ITS_INT, event, 0);
    its_sync();
}

void its_clear(uint32_t device, uint32_t event)
{
    its_command((uint64_t)device << 32 | ITS_CLEAR, event, 0);
    its_sync();
}

void its_discard(uint32_t device, uint32_t event)
{
    its_command((uint64_t)device << 32 | ITS_DISCARD, event, 0);
    its_sync();
}

void its_invalidate(uint32_t device, uint32_t event)
{
    its_command((uint64_t)device << 32 | ITS_INV, event, 0);
    its_sync();
}

void its_invalidate_all(void)
{
    its_command(ITS_INVALL, 0, 0);
    its_sync();
}

void its_move(uint32_t device, uint32_t event, uint16_t collection)
{
    its_command((uint64_t)device << 32 | ITS_MOVI, event, collection);
    its_sync();
}
