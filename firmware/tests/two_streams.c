/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two devices, each with an address space of its own, which reach for what is theirs and for what
 * is not: the small system that faults are injected into. Everything up to ready() is set up, and
 * what comes after it is short.
 *
 * It wants a second iommu-testdev; with one alone it says so.
 */
#include "board.h"
#include "console.h"
#include "mmio.h"
#include "rig.h"
#include "semihosting.h"

#define DEVICES 2
#define MINE 0x10000000ul  /* mapped for writing */
#define READ 0x10001000ul  /* mapped, and read-only */
#define NOBODYS 0x10002000ul
#define FAR 0x7000000000ul /* no table leads there */

/* Each device has one page to write and one to read; the second device's lie behind. */
#define PAGE_OF(device) (DMA_BASE + 0x10000ul * (device))
#define READ_OF(device) (PAGE_OF(device) + 0x1000)
#define IOVA_OF(device, iova) ((iova) + 0x100000ul * (device))

static struct rig rig;
static struct testdev devices[DEVICES];
static struct pagetable tables[DEVICES];

static bool find_second(void)
{
    uint32_t ids = pci_read32(&rig.dev.pci, PCI_VENDOR_ID);

    devices[0] = rig.dev;
    for (unsigned slot = (rig.dev.pci.rid >> 3) + 1u; slot < 32; slot++) {
        devices[1].pci.rid = (uint16_t)(slot << 3);
        if (pci_read32(&devices[1].pci, PCI_VENDOR_ID) == ids)
            return pci_enable(&devices[1].pci);
    }
    return false;
}

static void attach(unsigned device)
{
    struct pagetable *table = &tables[device];
    volatile struct cd *memory = smmu_cd_alloc();

    pagetable_init(table, 12, 39, false);
    pagetable_map(table, IOVA_OF(device, MINE), PAGE_OF(device), 3, PTE_READ_WRITE);
    pagetable_map(table, IOVA_OF(device, READ), READ_OF(device), 3, PTE_READ_ONLY);

    struct cd cd = smmu_cd_make((uint16_t)(device + 1), table, NULL);
    struct ste ste = smmu_ste_make_s1(memory);

    smmu_cd_write(memory, &cd);
    smmu_stream_attach(&rig.smmu, devices[device].pci.rid, &ste);
}

/* From here on faults are injected. */
__attribute__((noinline)) static void ready(void)
{
    __asm__ volatile("" ::: "memory");
}

static unsigned wrong;

static void dma(unsigned device, uint64_t iova, uint64_t pa, uint32_t expected)
{
    wrong += testdev_dma(&devices[device], iova, pa, 4) != expected;
}

static void reach(unsigned device)
{
    unsigned other = 1 - device;

    dma(device, IOVA_OF(device, MINE), PAGE_OF(device), TESTDEV_OK);
    dma(device, IOVA_OF(device, READ), READ_OF(device), TESTDEV_WRITE_FAILED);
    dma(device, IOVA_OF(device, NOBODYS), PAGE_OF(device), TESTDEV_WRITE_FAILED);
    dma(device, IOVA_OF(other, MINE), PAGE_OF(other), TESTDEV_WRITE_FAILED);
    dma(device, PAGE_OF(other), PAGE_OF(other), TESTDEV_WRITE_FAILED);
    dma(device, FAR, PAGE_OF(other), TESTDEV_WRITE_FAILED);
    dma(device, IOVA_OF(device, MINE) + 8, PAGE_OF(device) + 8, TESTDEV_OK);
}

/* Nothing is printed where all is well: letters would take most of the time. */
static int verdict(void)
{
    uint32_t events = smmu_read(&rig.smmu, SMMU_EVENTQ_PROD);
    uint32_t errors = smmu_gerror_active(&rig.smmu);

    if (!wrong && events == 5 * DEVICES && !errors)
        return EXIT_PASS;
    printf("FAIL: %u transfers, events 0x%x, errors 0x%x\n", wrong, events, errors);
    return EXIT_FAIL;
}

int main(void)
{
    test_begin("two_streams: two devices that reach for their own and each other's");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    if (!find_second())
        return test_absent("a second iommu-testdev");
    for (unsigned i = 0; i < DEVICES; i++)
        attach(i);
    printf("ready\n");
    dsb();
    ready();
    for (unsigned i = 0; i < DEVICES; i++)
        reach(i);
    return verdict();
}
