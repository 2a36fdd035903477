/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loads and stores of every size at odd offsets of every device. What they give is up to each
 * device, or an abort; nothing may break. At the end the console works and the core goes on.
 */
#include "board.h"
#include "console.h"
#include "exception.h"
#include "mmio.h"
#include "rig.h"
#include "sysreg.h"

#define DENSE 0x100 /* every offset below this, every seventh above */
#define SPARSE_STEP 7

#define ALL_ONES (~0ul)
#define MODEST 0x5aul /* no doorbell, no enormous length */

static struct smmu smmu;
static struct testdev dev;

struct region {
    const char *name;
    uintptr_t base;
    size_t size;
    size_t first_store; /* stores begin here: lower ones would print, or start something */
    uint64_t value;
};

static void load(uintptr_t address, unsigned size)
{
    uint64_t value;

    if (size == 1)
        __asm__ volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
    else if (size == 2)
        __asm__ volatile("ldrh %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
    else if (size == 4)
        __asm__ volatile("ldr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
    else
        __asm__ volatile("ldr %0, [%1]" : "=r"(value) : "r"(address) : "memory");
}

static void store(uintptr_t address, unsigned size, uint64_t value)
{
    if (size == 1)
        __asm__ volatile("strb %w0, [%1]" : : "r"(value), "r"(address) : "memory");
    else if (size == 2)
        __asm__ volatile("strh %w0, [%1]" : : "r"(value), "r"(address) : "memory");
    else if (size == 4)
        __asm__ volatile("str %w0, [%1]" : : "r"(value), "r"(address) : "memory");
    else
        __asm__ volatile("str %0, [%1]" : : "r"(value), "r"(address) : "memory");
}

static void touch(const struct region *region)
{
    unsigned accesses = 0;

    data_aborts_expect();
    for (size_t offset = 0; offset < region->size; offset += offset < DENSE ? 1 : SPARSE_STEP) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            if (offset + size > region->size)
                continue;
            load(region->base + offset, size);
            accesses++;
            if (offset >= region->first_store) {
                store(region->base + offset, size, region->value);
                accesses++;
            }
        }
    }
    data_aborts_end();
    console_init();
    printf("  %s at 0x%lx, value 0x%lx: %u accesses\n", region->name, region->base,
           region->value, accesses);
}

int main(void)
{
    test_begin("mmio_odd: every size at odd offsets of every device");
    smmu_probe(&smmu, SMMU_BASE);
    if (!testdev_find(&dev)) {
        check(false, "the test device is there");
        return test_end();
    }

    uintptr_t ecam = PCIE_ECAM_BASE;
    const struct region regions[] = {
        {"interrupt distributor", GICD_BASE, 0x1000, 0, ALL_ONES},
        {"interrupt distributor", GICD_BASE, 0x1000, 0, MODEST},
        {"interrupt interface", GICC_BASE, 0x1000, 0, ALL_ONES},
        {"console", PL011_BASE, 0x1000, 8, ALL_ONES},
        {"console", PL011_BASE, 0x1000, 8, MODEST},
        {"SMMU, page 0", SMMU_BASE, 0x1000, 0, MODEST},
        {"SMMU, page 0", SMMU_BASE, 0x1000, 0, ALL_ONES},
        {"SMMU, page 1", SMMU_BASE + 0x10000, 0x1000, 0, MODEST},
        {"SMMU, page 1", SMMU_BASE + 0x10000, 0x1000, 0, ALL_ONES},
        {"test device", dev.pci.bar0, 0x1000, 0, MODEST},
        {"configuration space of 00:00.0", ecam, 0x1000, 0, ALL_ONES},
        {"configuration space of 00:01.0", ecam + 0x8000, 0x1000, 0, MODEST},
        {"configuration space of 00:01.0", ecam + 0x8000, 0x1000, 0, ALL_ONES},
        {"configuration space of 00:1f.7", ecam + 0xff000, 0x1000, 0, ALL_ONES},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(regions); i++)
        touch(&regions[i]);
    check(true, "the core goes on");
    return test_end();
}
