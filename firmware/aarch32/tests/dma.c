/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DMA of the iommu-testdev through an SMMUv3 that an AArch32 core sets up: a linear Stream table, a
 * Context descriptor, long descriptors of three levels; a transfer that lands, one that faults, and
 * one after CMD_TLBI. The PCI configuration space lies above 4 GiB: the core's MMU has it at
 * 0x80000000 by long descriptors.
 */
#include "a32.h"

/* Registers of the SMMU (Arm IHI 0070, 6.3). */
#define CR0 0x20
#define CR0ACK 0x24
#define CR0_SMMUEN 1u
#define CR0_EVENTQEN 4u
#define CR0_CMDQEN 8u
#define CR2 0x2c
#define CR2_RECINVSID 2u
#define STRTAB_BASE 0x80
#define STRTAB_BASE_CFG 0x88
#define CMDQ_BASE 0x90
#define CMDQ_PROD 0x98
#define CMDQ_CONS 0x9c
#define EVENTQ_BASE 0xa0
#define EVENTQ_PROD 0x100a8
#define EVENTQ_CONS 0x100ac

/* Structures in memory (5.2, 5.4, 7.3) and commands (4). */
#define STE0_STAGE_1 0xbull        /* V, Config 0b101 */
#define STE1_SHCFG_INCOMING BIT(44)
#define CD0_39_BITS_4K 25ull
#define CD0_EPD1_V 0xc0000000ull
#define CD0_IPS_40 (2ull << 32)
#define CD0_AA64 BIT(41)
#define CD0_R_A_ASET (7ull << 45)
#define CD0_ASID(asid) ((uint64_t)(asid) << 48)
#define EVENT_F_TRANSLATION 0x10
#define CMD_CFGI_ALL 0x04
#define CMD_TLBI_NH_VA 0x12
#define CMD_TLBI_NSNH_ALL 0x30
#define CMD_SYNC 0x46

#define ECAM 0x90000000u /* 0x4010000000 */
#define TESTDEV 0x00051b36
#define TRIGGER 0x00
#define IOVA 0x04
#define LENGTH 0x0c
#define RESULT 0x10
#define DOORBELL 0x14
#define ATTRIBUTES 0x18
#define PA 0x1c
#define BUSY 0xffffffffu
#define NON_SECURE 0xau
#define PATTERN 0x12345678u

#define SID_LG2 6
#define QUEUE_LG2 4
#define ASID 3
#define IOVA_PAGE 0x20300000ull
#define NEXT_PAGE 0x20301000ull
#define TARGET 0x50001000u
#define ELSEWHERE 0x50005000u
#define PAGE_FLAGS 0x743ull /* valid, page, AP unprivileged, inner shareable, AF */

static uint32_t rid;
static uint32_t bar;
static volatile uint64_t *strtab, *cmdq, *evtq, *cd, *level3;
static uint32_t prod, cons;

static void smmu_write64(unsigned offset, uint64_t value)
{
    write32(SMMU_BASE + offset, (uint32_t)value);
    write32(SMMU_BASE + offset + 4, (uint32_t)(value >> 32));
}

static bool enable(uint32_t bits)
{
    write32(SMMU_BASE + CR0, bits);
    for (unsigned i = 0; i < 1000; i++) {
        if (read32(SMMU_BASE + CR0ACK) == bits)
            return true;
    }
    return false;
}

static void issue(uint64_t low, uint64_t high)
{
    uint32_t slot = prod & ((1u << QUEUE_LG2) - 1);

    cmdq[2 * slot] = low;
    cmdq[2 * slot + 1] = high;
    barrier();
    prod = (prod + 1) & ((2u << QUEUE_LG2) - 1);
    write32(SMMU_BASE + CMDQ_PROD, prod);
    while ((read32(SMMU_BASE + CMDQ_CONS) & ((2u << QUEUE_LG2) - 1)) != prod)
        ;
}

/* The core's own MMU: devices, RAM, and 1 GiB from 0x4000000000 at 0x80000000. */
static void mmu_enable(void)
{
    uint64_t *level1 = pool_alloc(32, 32);

    level1[0] = 0x405;
    level1[1] = 0x40000701;
    level1[2] = 0x4000000405ull;
    cp15_write(0, c10, c2, 0, 0x04ff);
    cp15_write(0, c2, c0, 2, 1u << 31);
    cp15_write64(0, c2, (uintptr_t)level1);
    barrier();
    cp15_write(0, c8, c7, 0, 0);
    cp15_write(0, c1, c0, 0, cp15_read(0, c1, c0, 0) | 1);
    barrier();
}

static bool find_device(void)
{
    for (uint32_t device = 0; device < 32; device++) {
        uint32_t config = ECAM + (device << 15);

        if (read32(config) != TESTDEV)
            continue;
        rid = device << 3;
        bar = PCIE_MMIO_BASE;
        write32(config + 0x10, bar);
        write32(config + 4, 6);
        return true;
    }
    return false;
}

static void build_tables(void)
{
    uint64_t *level1 = pool_alloc(0x1000, 0x1000);
    uint64_t *level2 = pool_alloc(0x1000, 0x1000);

    level3 = pool_alloc(0x1000, 0x1000);
    level1[IOVA_PAGE >> 30] = (uintptr_t)level2 | 3;
    level2[IOVA_PAGE >> 21 & 511] = (uintptr_t)level3 | 3;
    level3[IOVA_PAGE >> 12 & 511] = TARGET | PAGE_FLAGS;

    cd = pool_alloc(64, 64);
    cd[0] = CD0_39_BITS_4K | CD0_EPD1_V | CD0_IPS_40 | CD0_AA64 | CD0_R_A_ASET | CD0_ASID(ASID);
    cd[1] = (uintptr_t)level1;
    cd[3] = 0xff;

    strtab = pool_alloc(64u << SID_LG2, 64u << SID_LG2);
    strtab[8 * rid] = STE0_STAGE_1 | (uintptr_t)cd;
    strtab[8 * rid + 1] = STE1_SHCFG_INCOMING;
    cmdq = pool_alloc(16u << QUEUE_LG2, 16u << QUEUE_LG2);
    evtq = pool_alloc(32u << QUEUE_LG2, 32u << QUEUE_LG2);
    barrier();
}

static bool start_smmu(void)
{
    build_tables();
    write32(SMMU_BASE + CR2, CR2_RECINVSID);
    smmu_write64(STRTAB_BASE, (uintptr_t)strtab);
    write32(SMMU_BASE + STRTAB_BASE_CFG, SID_LG2);
    smmu_write64(CMDQ_BASE, (uintptr_t)cmdq | QUEUE_LG2);
    write32(SMMU_BASE + CMDQ_PROD, 0);
    write32(SMMU_BASE + CMDQ_CONS, 0);
    if (!enable(CR0_CMDQEN))
        return false;
    issue(CMD_CFGI_ALL, 31);
    issue(CMD_TLBI_NSNH_ALL, 0);
    issue(CMD_SYNC, 0);
    smmu_write64(EVENTQ_BASE, (uintptr_t)evtq | QUEUE_LG2);
    write32(SMMU_BASE + EVENTQ_PROD, 0);
    write32(SMMU_BASE + EVENTQ_CONS, 0);
    return enable(CR0_CMDQEN | CR0_EVENTQEN) && enable(CR0_CMDQEN | CR0_EVENTQEN | CR0_SMMUEN);
}

static uint32_t dma(uint64_t iova, uint32_t pa)
{
    uint32_t result;

    write32(bar + IOVA, (uint32_t)iova);
    write32(bar + IOVA + 4, (uint32_t)(iova >> 32));
    write32(bar + PA, pa);
    write32(bar + PA + 4, 0);
    write32(bar + LENGTH, 4);
    write32(bar + ATTRIBUTES, NON_SECURE);
    write32(bar + DOORBELL, 1);
    barrier();
    read32(bar + TRIGGER);
    do {
        result = read32(bar + RESULT);
    } while (result == BUSY);
    barrier();
    return result;
}

static void check_event(uint64_t iova)
{
    volatile uint64_t *record = evtq + 4 * cons;
    uint32_t written = read32(SMMU_BASE + EVENTQ_PROD);

    check(written == cons + 1 && (record[0] & 0xff) == EVENT_F_TRANSLATION &&
              record[0] >> 32 == rid && record[2] == iova,
          "F_TRANSLATION, stream 0x%x, iova 0x%lx", (uint32_t)(record[0] >> 32), record[2]);
    cons++;
    write32(SMMU_BASE + EVENTQ_CONS, cons);
}

static uint32_t word_at(uint32_t address)
{
    return *(volatile uint32_t *)address;
}

int main(void)
{
    print("DMA through an SMMUv3 that an AArch32 core sets up\n");
    mmu_enable();
    if (!check(find_device(), "the test device is there") ||
        !check(start_smmu(), "the SMMU comes up"))
        return test_end();

    section("DMA");
    check(dma(IOVA_PAGE + 0x40, TARGET + 0x40) == 0 && word_at(TARGET + 0x40) == PATTERN,
          "iova 0x%lx lands at 0x%x", IOVA_PAGE + 0x40, TARGET + 0x40);
    check(dma(NEXT_PAGE, TARGET) != 0, "iova 0x%lx is refused", NEXT_PAGE);
    check_event(NEXT_PAGE);

    section("Another page, before and after CMD_TLBI");
    level3[IOVA_PAGE >> 12 & 511] = ELSEWHERE | PAGE_FLAGS;
    barrier();
    check(dma(IOVA_PAGE + 0x80, TARGET + 0x80) == 0 && word_at(TARGET + 0x80) == PATTERN &&
              word_at(ELSEWHERE + 0x80) == 0,
          "the old page is still used");
    issue(CMD_TLBI_NH_VA | (uint64_t)ASID << 48, IOVA_PAGE | 1); /* leaf */
    issue(CMD_SYNC, 0);
    check(dma(IOVA_PAGE + 0xc0, ELSEWHERE + 0xc0) == 0 && word_at(ELSEWHERE + 0xc0) == PATTERN,
          "the new page is used");
    return test_end();
}
