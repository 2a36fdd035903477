/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Firmware on a core that is itself behind the SMMU, under StreamID 0x20, and that sets the SMMU up
 * under its own feet: untranslated at first, then an identity map, then other maps.
 *
 * The core's own MMU stays off. A refused access is a synchronous external abort (DDI 0487 D1.4.2).
 */
#include "board.h"
#include "check.h"
#include "console.h"
#include "exception.h"
#include "mmio.h"
#include "pool.h"
#include "semihosting.h"
#include "smmuv3.h"

#define CORE_STREAM 0x20
#define SID_LG2 6
#define QUEUE_LG2 5
#define ASID 1
#define OTHER_ASID 2

#define FSC_EXTERNAL_ABORT 0x10
#define TWO_MIB 0x200000ul

#define ALIAS_IOVA 0x1000000000ul /* no memory is there: only the SMMU makes it mean something */
#define PAGE_IOVA DMA_BASE
#define NEXT_IOVA (DMA_BASE + 0x1000)
#define ELSEWHERE_PA (DMA_BASE + 0x5000)

#define MARK 0x1111111122222222ul
#define OTHER_MARK 0x3333333344444444ul

/* EL1 must not execute what EL0 may write, so AP[1] is 0 here. */
#define PRIVILEGED (PTE_SH_INNER | PTE_AF | PTE_NG)
#define DEVICE (field_put(PTE_ATTR_INDEX, 1) | PTE_AF | PTE_NG | PTE_XN)
#define PTE_XN (BIT(53) | BIT(54))

static struct smmu smmu;
static struct pagetable table;
static struct pagetable other_table;
static volatile struct cd *cd;

/* -- exceptions */

static struct exception_frame taken;
static unsigned taken_count;

/* A load or store is skipped, a jump returns to its caller. */
static bool take(struct exception_frame *frame, unsigned vector)
{
    if (vector % 4 != VECTOR_SYNC)
        return false;
    taken = *frame;
    taken_count++;
    frame->elr = field_get(ESR_EC, frame->esr) == ESR_EC_INSTRUCTION_ABORT ? frame->x[30]
                                                                         : frame->elr + 4;
    return true;
}

/* Loads, and says where the load itself is. */
static uint64_t load(uint64_t address, uint64_t *at)
{
    uint64_t value;

    __asm__ volatile("adr %1, 1f\n1: ldr %0, [%2]" : "=&r"(value), "=&r"(*at) : "r"(address));
    return value;
}

static void store(uint64_t address, uint64_t value, uint64_t *at)
{
    __asm__ volatile("adr %0, 1f\n1: str %1, [%2]"
                     : "=&r"(*at)
                     : "r"(value), "r"(address)
                     : "memory");
}

static void load_as_user(uint64_t address, uint64_t *at)
{
    uint64_t value;

    __asm__ volatile("adr %1, 1f\n1: ldtr %0, [%2]" : "=&r"(value), "=&r"(*at) : "r"(address));
}

static void jump(uint64_t address)
{
    __asm__ volatile("blr %0" : : "r"(address) : "x30", "memory");
}

static void check_abort(const char *what, unsigned class, uint64_t iss, uint64_t at, uint64_t iova)
{
    uint64_t esr = field_put(ESR_EC, class) | ESR_IL | iss | FSC_EXTERNAL_ABORT;

    check(taken_count == 1 && taken.esr == esr, "%s: ESR 0x%lx", what, taken.esr);
    check(taken.elr == at && taken.far == iova, "at that instruction; FAR 0x%lx", taken.far);
    taken_count = 0;
}

static void check_event(unsigned type, uint64_t access, uint64_t iova)
{
    struct smmu_event event = {0};
    bool found = smmu_event_pop(&smmu, &event);
    uint64_t kind = event.dw[1] & (EVENT1_PNU | EVENT1_IND | EVENT1_RNW);
    uint64_t sid = field_get(EVENT0_STREAMID, event.dw[0]);

    check(found && smmu_event_type(&event) == type && sid == CORE_STREAM && kind == access &&
              event.dw[2] == iova,
          "its record says so");
    if (found) {
        printf("      ");
        smmu_event_print(&event);
    }
    check(!smmu_event_pop(&smmu, &event), "there is no other record");
}

/* -- tables */

static void map_page(struct pagetable *to, uint64_t iova, uint64_t pa, uint64_t attributes)
{
    pagetable_map(to, iova, pa, 3, attributes);
}

/* What the image lives on; the first 2 MiB of DMA_BASE are pages. */
static void map_identity(struct pagetable *to)
{
    pagetable_init(to, 12, 39, false);
    pagetable_map(to, 0, 0, 1, DEVICE);
    for (uint64_t at = RAM_BASE; at < RAM_BASE + RAM_SIZE; at += TWO_MIB) {
        if (at != DMA_BASE)
            pagetable_map(to, at, at, 2, PRIVILEGED);
    }
    for (uint64_t at = DMA_BASE; at < DMA_BASE + 0x8000; at += 0x1000)
        map_page(to, at, at, PRIVILEGED);
    map_page(to, ALIAS_IOVA, DMA_BASE, PRIVILEGED);
}

static volatile struct cd *context(uint16_t asid, const struct pagetable *tables)
{
    volatile struct cd *memory = smmu_cd_alloc();
    struct cd made = smmu_cd_make(asid, tables, NULL);

    smmu_cd_write(memory, &made);
    return memory;
}

/* -- the SMMU */

static void queue_make(struct smmu_queue *queue, unsigned words)
{
    size_t size = (8ul * words) << QUEUE_LG2;

    *queue = (struct smmu_queue){.ring = pool_alloc(size, size), .lg2 = QUEUE_LG2,
                                 .entry_words = words};
}

static uint64_t queue_base(const struct smmu_queue *queue)
{
    return (uintptr_t)queue->ring | QUEUE_BASE_ALLOCATE | field_put(QUEUE_BASE_LOG2SIZE, QUEUE_LG2);
}

/* All structures are in memory, and the core's own STE is valid, before translation is on. */
static bool smmu_start(void)
{
    struct ste ste = smmu_ste_make_s1(cd);
    size_t size = sizeof(struct ste) << SID_LG2;

    smmu.config = (struct smmu_config){.sid_lg2 = SID_LG2};
    smmu.strtab = pool_alloc(size, size);
    for (unsigned i = 0; i < ARRAY_COUNT(ste.dw); i++)
        smmu.strtab[8 * CORE_STREAM + i] = ste.dw[i];
    queue_make(&smmu.cmdq, 2);
    queue_make(&smmu.evtq, 4);
    dma_write_barrier();

    smmu_write(&smmu, SMMU_CR2, CR2_RECINVSID);
    smmu_strtab_install(&smmu, (uintptr_t)smmu.strtab);
    smmu_write64(&smmu, SMMU_CMDQ_BASE, queue_base(&smmu.cmdq));
    smmu_write64(&smmu, SMMU_EVENTQ_BASE, queue_base(&smmu.evtq));
    return smmu_cr0_set(&smmu, CR0_CMDQEN) && smmu_issue_sync(&smmu, smmu_cmd_cfgi_all()) &&
           smmu_issue_sync(&smmu, smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL)) &&
           smmu_cr0_set(&smmu, CR0_EVENTQEN) && smmu_cr0_set(&smmu, CR0_SMMUEN);
}

static bool invalidate(uint64_t iova)
{
    return smmu_issue_sync(&smmu, smmu_cmd_tlbi_va(ASID, iova, true));
}

/* -- tests */

/* Only a core behind the SMMU finds something there. */
static bool is_behind_the_smmu(void)
{
    uint64_t at;
    bool found = load(ALIAS_IOVA, &at) == MARK && taken_count == 0;

    taken_count = 0;
    return found;
}

static void test_alias(void)
{
    uint64_t at;

    test_section("Another address for a page");
    check(load(ALIAS_IOVA, &at) == MARK, "what was stored in the page is read there");
    store(ALIAS_IOVA, OTHER_MARK, &at);
    check(load(PAGE_IOVA, &at) == OTHER_MARK, "what is stored there is read in the page");
    store(PAGE_IOVA, MARK, &at);
}

static void test_unmap(void)
{
    uint64_t at;

    test_section("A page is unmapped");
    *pagetable_descriptor(&table, PAGE_IOVA, 3) = 0;
    dma_write_barrier();
    check(load(PAGE_IOVA, &at) == MARK && taken_count == 0, "without CMD_TLBI it is still there");
    check(invalidate(PAGE_IOVA), "CMD_TLBI_NH_VA, CMD_SYNC");
    load(PAGE_IOVA + 0x18, &at);
    check_abort("a load", ESR_EC_DATA_ABORT, 0, at, PAGE_IOVA + 0x18);
    check_event(EVENT_F_TRANSLATION, EVENT1_PNU | EVENT1_RNW, PAGE_IOVA + 0x18);
    store(PAGE_IOVA + 0x20, 0, &at);
    check_abort("a store", ESR_EC_DATA_ABORT, ESR_ISS_WNR, at, PAGE_IOVA + 0x20);
    check_event(EVENT_F_TRANSLATION, EVENT1_PNU, PAGE_IOVA + 0x20);
    jump(PAGE_IOVA);
    check_abort("a jump", ESR_EC_INSTRUCTION_ABORT, 0, PAGE_IOVA, PAGE_IOVA);
    check_event(EVENT_F_TRANSLATION, EVENT1_PNU | EVENT1_IND | EVENT1_RNW, PAGE_IOVA);

    map_page(&table, PAGE_IOVA, ELSEWHERE_PA, PRIVILEGED);
    check(load(PAGE_IOVA, &at) == OTHER_MARK && taken_count == 0, "mapped elsewhere, it is there");
}

static void test_permissions(void)
{
    uint64_t at;

    test_section("Permissions");
    map_page(&table, NEXT_IOVA, NEXT_IOVA, PRIVILEGED | PTE_AP_READ_ONLY | PTE_XN);
    check(invalidate(NEXT_IOVA), "a page is read-only and not executable");
    load(NEXT_IOVA, &at);
    check(taken_count == 0, "a load passes");
    store(NEXT_IOVA, 1, &at);
    check_abort("a store", ESR_EC_DATA_ABORT, ESR_ISS_WNR, at, NEXT_IOVA);
    check_event(EVENT_F_PERMISSION, EVENT1_PNU, NEXT_IOVA);
    jump(NEXT_IOVA);
    check_abort("a jump", ESR_EC_INSTRUCTION_ABORT, 0, NEXT_IOVA, NEXT_IOVA);
    check_event(EVENT_F_PERMISSION, EVENT1_PNU | EVENT1_IND | EVENT1_RNW, NEXT_IOVA);
    load_as_user(NEXT_IOVA, &at);
    check_abort("LDTR", ESR_EC_DATA_ABORT, 0, at, NEXT_IOVA);
    check_event(EVENT_F_PERMISSION, EVENT1_RNW, NEXT_IOVA);
}

/* The STE under which the core executes changes in one step, to tables that differ in a page. */
static void test_other_tables(void)
{
    volatile struct cd *other = context(OTHER_ASID, &other_table);
    struct ste ste = smmu_ste_make_s1(other);
    uint64_t at;

    test_section("The core's own stream gets other tables");
    check(load(ALIAS_IOVA, &at) == MARK, "the page at the alias, by the first tables");
    check(smmu_ste_change(&smmu, CORE_STREAM, &ste, NULL, NULL), "the STE is changed");
    check(load(ALIAS_IOVA, &at) == OTHER_MARK && taken_count == 0, "another page, by the others");
}

static void test_off(void)
{
    uint64_t at;

    test_section("The SMMU is switched off");
    check(smmu_cr0_clear(&smmu, CR0_SMMUEN), "SMMUEN is 0");
    check(load(PAGE_IOVA, &at) == MARK && taken_count == 0, "addresses are physical ones");
    load(ALIAS_IOVA, &at);
    check(taken_count == 1, "nothing is at the alias");
}

int main(void)
{
    uint64_t at;

    console_init();
    printf("A core behind the SMMU that it sets up\n");
    exception_hook_set(take);
    store(PAGE_IOVA, MARK, &at);
    store(ELSEWHERE_PA, OTHER_MARK, &at);
    map_identity(&table);
    map_identity(&other_table);
    map_page(&other_table, ALIAS_IOVA, ELSEWHERE_PA, PRIVILEGED);
    cd = context(ASID, &table);

    test_section("Translation is switched on");
    if (!smmu_probe(&smmu, SMMU_BASE) || !check(smmu_start(), "the core goes on"))
        return test_end();
    if (!is_behind_the_smmu())
        return test_absent("a core behind the SMMU, under StreamID 0x20");
    test_alias();
    test_unmap();
    test_permissions();
    test_other_tables();
    test_off();
    return test_end();
}
