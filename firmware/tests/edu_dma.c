/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DMA of QEMU's edu device through stage 1: both ways, over borders of pages, and refused.
 *
 * edu has a buffer of 4 KiB. A transfer takes 100 ms, after which it interrupts by its pin; its
 * addresses have 28 bits. It does not tell whether a transfer was refused, so this image looks at
 * memory, at the buffer, and at the SMMU's records. Transfers that are refused have 4 bytes: edu
 * goes on after each 4 bytes that were, and each makes a record.
 */
#include "board.h"
#include "console.h"
#include "gic.h"
#include "mmio.h"
#include "pci.h"
#include "rig.h"
#include "sysreg.h"

#define EDU_VENDOR 0x1234
#define EDU_DEVICE 0x11e8
#define EDU_ID 0x00
#define EDU_INTERRUPTS 0x24
#define EDU_ACKNOWLEDGE 0x64
#define EDU_SOURCE 0x80
#define EDU_DESTINATION 0x88
#define EDU_COUNT 0x90
#define EDU_COMMAND 0x98
#define EDU_RUN BIT(0)
#define EDU_TO_MEMORY BIT(1)
#define EDU_INTERRUPT BIT(2)
#define EDU_BUFFER 0x40000ul

#define PAGE 0x1000ul
#define FIRST 0x0010000ul /* input addresses */
#define SECOND 0x0011000ul
#define READ_ONLY 0x0200000ul
#define HIGH 0xffff000ul /* the last page that edu can name */
#define UNMAPPED 0x0012000ul
#define WORDS 64

static struct smmu smmu;
static struct pci_device edu;
static struct pagetable table;
static volatile unsigned done;

static void on_edu(void)
{
    write32(edu.bar0 + EDU_ACKNOWLEDGE, read32(edu.bar0 + EDU_INTERRUPTS));
    done++;
}

/* One transfer, from start to interrupt; the core sleeps meanwhile. */
static void transfer(uint64_t from, uint64_t to, uint64_t count, uint64_t direction)
{
    done = 0;
    dsb();
    write64(edu.bar0 + EDU_SOURCE, from);
    write64(edu.bar0 + EDU_DESTINATION, to);
    write64(edu.bar0 + EDU_COUNT, count);
    write64(edu.bar0 + EDU_COMMAND, EDU_RUN | EDU_INTERRUPT | direction);
    while (!done) {
        wfi();
        irq_enable();
        isb();
        irq_disable();
    }
    dsb();
}

static void fetch(uint64_t iova, unsigned at, uint64_t count)
{
    transfer(iova, EDU_BUFFER + at, count, 0);
}

static void store(unsigned at, uint64_t iova, uint64_t count)
{
    transfer(EDU_BUFFER + at, iova, count, EDU_TO_MEMORY);
}

static volatile uint32_t *words(uint64_t pa)
{
    return (volatile uint32_t *)pa;
}

static void fill(uint64_t pa, unsigned count, uint32_t seed)
{
    for (unsigned i = 0; i < count; i++)
        words(pa)[i] = seed * (i + 1);
    dsb();
}

static bool holds(uint64_t pa, unsigned count, uint32_t seed)
{
    for (unsigned i = 0; i < count; i++)
        if (words(pa)[i] != seed * (i + 1)) {
            printf("  0x%lx holds 0x%08x\n", pa + 4 * i, words(pa)[i]);
            return false;
        }
    return true;
}

static bool no_events(void)
{
    struct smmu_event event;
    bool none = true;

    while (smmu_event_pop(&smmu, &event)) {
        printf("  unexpected event: ");
        smmu_event_print(&event);
        none = false;
    }
    return none;
}

static void check_event(unsigned type, const char *what)
{
    struct smmu_event event = {0};
    bool recorded = smmu_event_pop(&smmu, &event);

    check(recorded && smmu_event_type(&event) == type, "%s is recorded", what);
    if (recorded) {
        printf("      ");
        smmu_event_print(&event);
    }
    no_events();
}

static void test_both_ways(void)
{
    test_section("From memory into the device and back");
    fill(DMA_BASE, WORDS, 0x01010101);
    fill(DMA_BASE + 5 * PAGE, WORDS, 0);
    fetch(FIRST, 0, 4 * WORDS);
    store(0, SECOND, 4 * WORDS);
    check(holds(DMA_BASE + 5 * PAGE, WORDS, 0x01010101) && no_events(), "%u bytes by two pages",
          4 * WORDS);
    fill(DMA_BASE + 7 * PAGE, WORDS, 0);
    store(0, HIGH, 4 * WORDS);
    check(holds(DMA_BASE + 7 * PAGE, WORDS, 0x01010101) && no_events(), "into the last page");
}

/* The pages lie apart in memory: half of the bytes belong to each. */
static void test_border(void)
{
    uint64_t half = 2 * WORDS;
    uint64_t first = DMA_BASE + PAGE - half, second = DMA_BASE + 5 * PAGE;

    test_section("Over the border of two pages");
    fill(first, WORDS / 2, 0x00030001);
    fill(second, WORDS / 2, 0x00050001);
    fetch(SECOND - half, 0x100, 2 * half);
    fill(first, WORDS / 2, 0);
    fill(second, WORDS / 2, 0);
    store(0x100, SECOND - half, 2 * half);
    check(holds(first, WORDS / 2, 0x00030001) && holds(second, WORDS / 2, 0x00050001) &&
              no_events(),
          "each half in its own page");
}

static void test_refused(void)
{
    test_section("Refused");
    fill(DMA_BASE + 6 * PAGE, WORDS, 0x07);
    fetch(READ_ONLY, 0x200, 4 * WORDS);
    store(0x200, FIRST, 4 * WORDS);
    check(holds(DMA_BASE, WORDS, 0x07) && no_events(), "a read-only page can be read");
    store(0, READ_ONLY, 4);
    check(holds(DMA_BASE + 6 * PAGE, WORDS, 0x07), "and not written");
    check_event(EVENT_F_PERMISSION, "F_PERMISSION");
    fetch(UNMAPPED, 0x300, 4);
    check_event(EVENT_F_TRANSLATION, "F_TRANSLATION of a read");
    store(0, UNMAPPED, 4);
    check_event(EVENT_F_TRANSLATION, "F_TRANSLATION of a write");
    fill(DMA_BASE, 2, 0x09);
    store(0, SECOND - 4, 4);
    check(words(DMA_BASE + PAGE)[-1] == 0x01010101 && no_events(), "others go on");
}

static void test_unmap(void)
{
    struct smmu_command tlbi = smmu_cmd_tlbi_va(1, SECOND, true);

    test_section("A page that is unmapped");
    *pagetable_descriptor(&table, SECOND, 3) = 0;
    dsb();
    fill(DMA_BASE + 5 * PAGE, WORDS, 0x0b);
    check(smmu_issue_sync(&smmu, tlbi), "CMD_TLBI_NH_VA and CMD_SYNC");
    store(0, SECOND, 4);
    check(holds(DMA_BASE + 5 * PAGE, WORDS, 0x0b), "is not written any more");
    check_event(EVENT_F_TRANSLATION, "F_TRANSLATION");
}

static void test_abort(void)
{
    struct ste ste = smmu_ste_make_abort();

    test_section("A stream that aborts");
    fill(DMA_BASE, WORDS, 0x0d);
    check(smmu_stream_attach(&smmu, edu.rid, &ste), "an STE with Config 0b000");
    store(0, FIRST, 4);
    check(holds(DMA_BASE, WORDS, 0x0d) && no_events(), "nothing is written or recorded");
}

static void map_all(void)
{
    pagetable_init(&table, 12, 39, false);
    pagetable_map(&table, FIRST, DMA_BASE, 3, PTE_READ_WRITE);
    pagetable_map(&table, SECOND, DMA_BASE + 5 * PAGE, 3, PTE_READ_WRITE);
    pagetable_map(&table, READ_ONLY, DMA_BASE + 6 * PAGE, 3, PTE_READ_ONLY);
    pagetable_map(&table, HIGH, DMA_BASE + 7 * PAGE, 3, PTE_READ_WRITE);
}

int main(void)
{
    const struct smmu_config config = RIG_CONFIG_DEFAULT;

    test_begin("edu_dma: QEMU's edu device behind stage 1");
    if (!pci_find(&edu, EDU_VENDOR, EDU_DEVICE))
        return test_absent("the device edu");
    if (!pci_enable(&edu) || !smmu_probe(&smmu, SMMU_BASE) || !smmu_init(&smmu, &config)) {
        check(false, "everything comes up");
        return test_end();
    }
    printf("edu at 00:%02x.0, identification 0x%08x, StreamID 0x%x\n", edu.rid >> 3,
           read32(edu.bar0 + EDU_ID), edu.rid);
    gic_init();
    gic_enable(IRQ_PCIE(edu.rid >> 3), GIC_LEVEL, on_edu);
    map_all();
    volatile struct cd *memory = smmu_cd_alloc();
    struct cd cd = smmu_cd_make(1, &table, NULL);
    struct ste ste = smmu_ste_make_s1(memory);
    smmu_cd_write(memory, &cd);
    check(smmu_stream_attach(&smmu, edu.rid, &ste), "the stream is attached");
    test_both_ways();
    test_border();
    test_refused();
    test_unmap();
    test_abort();
    return test_end();
}
