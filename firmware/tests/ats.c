/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Address translation services (Arm IHI 0070, 3.9, 4.5 and 8): a device that keeps translations of
 * its own, which software must invalidate as well, and that asks for pages which are not there.
 */
#include "board.h"
#include "console.h"
#include "engine_rig.h"
#include "mmio.h"

#define ASID 3
#define IOVA(n) (0x20300000ul + 0x1000ul * (n))
#define PA(n) (DMA_BASE + 0x1000ul * (n))

static struct engine_rig rig;
static struct pagetable table;
static volatile struct cd *cd;

static void issue(struct smmu_command command)
{
    if (!smmu_issue_sync(&rig.smmu, command))
        check(false, "the command is taken");
}

static void attach(unsigned eats)
{
    struct ste ste = smmu_ste_make_s1(cd);

    ste.dw[1] |= field_put(STE1_EATS, eats);
    smmu_stream_attach(&rig.smmu, rig.sid, &ste);
}

static void map(unsigned page, uint64_t attributes)
{
    pagetable_map(&table, IOVA(page), PA(page), 3, attributes);
}

static void unmap(unsigned page)
{
    *pagetable_descriptor(&table, IOVA(page), 3) = 0;
    dma_write_barrier();
}

/* The device stops using a page in this order: table, TLB, the device's own cache (3.9.1.4). */
static void invalidate(unsigned page)
{
    issue(smmu_cmd_tlbi_va(ASID, IOVA(page), true));
    issue(smmu_cmd_atc_inv(rig.sid, IOVA(page), 0));
}

static void check_cache(unsigned entries, unsigned requests, const char *what)
{
    unsigned found = engine_ats_entries(&rig.engine);
    unsigned asked = engine_ats_requests(&rig.engine);

    check(found == entries && asked == requests, "%s: %u entries, %u requests so far", what, found,
          asked);
}

static void test_cache(void)
{
    test_section("The device's cache");
    engine_ats_enable(&rig.engine, true, false);
    map(0, PTE_READ_WRITE);
    map(1, PTE_READ_WRITE);
    check_engine_writes(&rig, ENGINE_ATS, IOVA(0), PA(0), "the first access");
    check_cache(1, 1, "asks the SMMU");
    check_engine_writes(&rig, ENGINE_ATS, IOVA(0) + 0x100, PA(0) + 0x100, "the second");
    check_engine_reads(&rig, ENGINE_ATS, IOVA(0) + 0x200, PA(0) + 0x200, "the third");
    check_cache(1, 1, "ask nobody");
    check_engine_writes(&rig, ENGINE_ATS, IOVA(1), PA(1), "another page");
    check_cache(2, 2, "asks again");
    check_engine_writes(&rig, 0, IOVA(0), PA(0), "an access that does without");
    check_cache(2, 2, "leaves it as it is");
}

static void test_invalidation(void)
{
    test_section("Pages that are taken away");
    unmap(0);
    issue(smmu_cmd_tlbi_va(ASID, IOVA(0), true));
    check_engine_write_refused(&rig, 0, IOVA(0), EVENT_F_TRANSLATION,
                               "unmapped, and the TLB invalidated: without ATS");
    check_engine_writes(&rig, ENGINE_ATS, IOVA(0), PA(0), "the device still has it");
    issue(smmu_cmd_atc_inv(rig.sid, IOVA(1), 0));
    check_cache(1, 2, "CMD_ATC_INV of the other page");
    check_engine_writes(&rig, ENGINE_ATS, IOVA(0), PA(0), "the device still has the first");
    issue(smmu_cmd_atc_inv(rig.sid, IOVA(0), 0));
    check_cache(0, 2, "CMD_ATC_INV");
    check_engine_write_refused(&rig, ENGINE_ATS, IOVA(0), 0, "the device asks, and may not");
    check_cache(0, 3, "a refusal is not kept");
    map(0, PTE_READ_WRITE);
    for (unsigned i = 0; i < 2; i++)
        check_engine_writes(&rig, ENGINE_ATS, IOVA(i), PA(i), "mapped");
    issue(smmu_cmd_atc_inv(rig.sid, 0, CMD_ATC_INV_SIZE_ALL));
    check_cache(0, 5, "CMD_ATC_INV of everything");
}

static void test_rights(void)
{
    test_section("Rights");
    map(2, PTE_READ_ONLY);
    check_engine_reads(&rig, ENGINE_ATS, IOVA(2), PA(2), "a read-only page");
    check_engine_write_refused(&rig, ENGINE_ATS, IOVA(2), 0, "the device was not given writes");
    map(3, PTE_READ_WRITE & ~PTE_AF);
    check_engine_read_refused(&rig, ENGINE_ATS, IOVA(3), 0, "a page without access flag");
    invalidate(2);
}

/* Addresses that the device says are translated are checked against the STE (CR0.ATSCHK). */
static void test_forbidden(void)
{
    test_section("ATS is taken away");
    check_engine_writes(&rig, ENGINE_ATS, IOVA(0), PA(0), "the device has a translation");
    attach(0);
    check_engine_write_refused(&rig, ENGINE_ATS, IOVA(0), EVENT_F_TRANSL_FORBIDDEN,
                               "STE.EATS = 0: it may not be used");
    issue(smmu_cmd_atc_inv(rig.sid, 0, CMD_ATC_INV_SIZE_ALL));
    check_engine_write_refused(&rig, ENGINE_ATS, IOVA(0), EVENT_F_BAD_ATS_TREQ,
                               "and no other is to be had");
    engine_ats_enable(&rig.engine, false, false);
    check_engine_writes(&rig, ENGINE_ATS, IOVA(0), PA(0), "the device stops asking: untranslated");
    attach(STE_EATS_FULL);
}

/* -- page requests */

/* Takes one request; answers it, after mapping what it asks for if that is wanted. */
static void serve(unsigned page, bool grant)
{
    struct smmu_page_request request = {0};
    bool found = smmu_page_request_pop(&rig.smmu, &request);

    check(found && (request.dw[1] & PRI1_ADDRESS) == IOVA(page), "a page request is there");
    printf("      ");
    smmu_page_request_print(&request);
    if (grant)
        map(page, PTE_READ_WRITE);
    issue(smmu_cmd_pri_resp(&request, grant ? CMD_PRI_RESP_SUCCESS : CMD_PRI_RESP_INVALID));
}

static enum engine_state wait_for_end(unsigned channel)
{
    enum engine_state state = ENGINE_STATE_BUSY;

    for (unsigned i = 0; i < 100000 && state == ENGINE_STATE_BUSY; i++)
        state = engine_state(&rig.engine, channel);
    return state;
}

static void test_page_request(void)
{
    volatile uint64_t *target = (volatile uint64_t *)PA(8);
    struct engine_request request = {
        ENGINE_FILL, ENGINE_ATS | ENGINE_CAN_WAIT, 8, 0, IOVA(8), 0x1234,
    };

    test_section("Pages that the device asks for");
    engine_ats_enable(&rig.engine, true, true);
    *target = 0;
    check(engine_rig_run(&rig, 0, &request) == ENGINE_STATE_BUSY, "the engine waits for a page");
    serve(8, true);
    check(wait_for_end(0) == ENGINE_STATE_DONE && *target == 0x1234,
          "it was given, and the write has landed");

    request.destination = IOVA(9);
    check(engine_rig_run(&rig, 1, &request) == ENGINE_STATE_BUSY, "the engine waits for another");
    serve(9, false);
    check(wait_for_end(1) == ENGINE_STATE_TRANSFER_FAILED, "it was denied");
    check(engine_rig_no_events(&rig), "no event was recorded");
}

#define DEMAND_PAGES 8

static void test_demand(void)
{
    struct engine_request request = {
        ENGINE_FILL, ENGINE_ATS | ENGINE_CAN_WAIT, DEMAND_PAGES * 0x1000, 0, IOVA(32), 0x77,
    };
    unsigned served = 0;

    test_section("A transfer of %u pages, none of which is mapped", DEMAND_PAGES);
    engine_rig_run(&rig, 0, &request);
    while (wait_for_end(0) == ENGINE_STATE_BUSY && served < 2 * DEMAND_PAGES) {
        struct smmu_page_request asked;

        while (smmu_page_request_pop(&rig.smmu, &asked)) {
            map((unsigned)(((asked.dw[1] & PRI1_ADDRESS) - IOVA(0)) >> 12), PTE_READ_WRITE);
            issue(smmu_cmd_pri_resp(&asked, CMD_PRI_RESP_SUCCESS));
            served++;
        }
    }
    check(engine_state(&rig.engine, 0) == ENGINE_STATE_DONE && served == DEMAND_PAGES,
          "%u page requests were served", served);
    check(*(volatile uint64_t *)(PA(32 + DEMAND_PAGES) - 8) == 0x77, "the last word has arrived");
}

int main(void)
{
    struct smmu_config config = {
        .sid_lg2 = 6, .cmdq_lg2 = 5, .evtq_lg2 = 5, .priq_lg2 = 4, .ats = true,
    };
    struct cd made;

    test_begin("ats: a device with translations of its own");
    if (!engine_rig_find(&rig))
        return test_absent("the DMA engine, and an SMMU with stage 1");
    if (!(rig.smmu.idr0 & IDR0_ATS) || !(rig.smmu.idr0 & IDR0_PRI))
        return test_absent("an SMMU with ATS and PRI (SMMU_IDR0.ATS, PRI)");
    if (!engine_rig_start(&rig, &config))
        return test_end();
    pagetable_init(&table, 12, 39, false);
    engine_rig_map(&rig, &table);
    cd = smmu_cd_alloc();
    made = smmu_cd_make(ASID, &table, NULL);
    smmu_cd_write(cd, &made);
    attach(STE_EATS_FULL);

    test_cache();
    test_invalidation();
    test_rights();
    test_forbidden();
    test_page_request();
    test_demand();
    return test_end();
}
