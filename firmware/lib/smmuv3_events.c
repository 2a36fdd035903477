/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Event queue of an SMMUv3 and its records (Arm IHI 0070, 7.2 to 7.4). */
#include "console.h"
#include "mmio.h"
#include "smmuv3.h"

static const struct {
    uint8_t type;
    bool has_access; /* doubleword 1 tells about the access, 2 is the input address */
    bool has_fetch;  /* doubleword 3 is an address that was fetched */
    const char *name;
} kinds[] = {
    {EVENT_F_UUT, true, false, "F_UUT"},
    {EVENT_C_BAD_STREAMID, false, false, "C_BAD_STREAMID"},
    {EVENT_F_STE_FETCH, false, true, "F_STE_FETCH"},
    {EVENT_C_BAD_STE, false, false, "C_BAD_STE"},
    {EVENT_F_BAD_ATS_TREQ, false, false, "F_BAD_ATS_TREQ"},
    {EVENT_F_STREAM_DISABLED, false, false, "F_STREAM_DISABLED"},
    {EVENT_F_TRANSL_FORBIDDEN, false, false, "F_TRANSL_FORBIDDEN"},
    {EVENT_C_BAD_SUBSTREAMID, false, false, "C_BAD_SUBSTREAMID"},
    {EVENT_F_CD_FETCH, false, true, "F_CD_FETCH"},
    {EVENT_C_BAD_CD, false, false, "C_BAD_CD"},
    {EVENT_F_WALK_EABT, true, true, "F_WALK_EABT"},
    {EVENT_F_TRANSLATION, true, false, "F_TRANSLATION"},
    {EVENT_F_ADDR_SIZE, true, false, "F_ADDR_SIZE"},
    {EVENT_F_ACCESS, true, false, "F_ACCESS"},
    {EVENT_F_PERMISSION, true, false, "F_PERMISSION"},
    {EVENT_F_TLB_CONFLICT, true, false, "F_TLB_CONFLICT"},
    {EVENT_F_CFG_CONFLICT, false, false, "F_CFG_CONFLICT"},
    {EVENT_E_PAGE_REQUEST, false, false, "E_PAGE_REQUEST"},
    {EVENT_F_VMS_FETCH, false, true, "F_VMS_FETCH"},
};

unsigned smmu_event_type(const struct smmu_event *event)
{
    return (unsigned)field_get(EVENT0_TYPE, event->dw[0]);
}

const char *smmu_event_name(unsigned type)
{
    for (unsigned i = 0; i < ARRAY_COUNT(kinds); i++) {
        if (kinds[i].type == type)
            return kinds[i].name;
    }
    return "unknown event";
}

static void print_access(const struct smmu_event *event)
{
    static const char *const classes[] = {"CD", "TTD", "IN", "reserved"};
    uint64_t access = event->dw[1];

    printf(" %s %s %s iova 0x%lx stage %u class %s", access & EVENT1_PNU ? "privileged" : "user",
           access & EVENT1_IND ? "instruction" : "data", access & EVENT1_RNW ? "read" : "write",
           event->dw[2], access & EVENT1_S2 ? 2 : 1, classes[field_get(EVENT1_CLASS, access)]);
    if (access & EVENT1_STALL)
        printf(" stalled, tag 0x%lx", field_get(EVENT1_STAG, access));
    if (access & EVENT1_S2)
        printf(" ipa 0x%lx", event->dw[3]);
}

void smmu_event_print(const struct smmu_event *event)
{
    unsigned type = smmu_event_type(event);

    printf("%s stream 0x%lx", smmu_event_name(type), field_get(EVENT0_STREAMID, event->dw[0]));
    if (event->dw[0] & EVENT0_SSV || type == EVENT_C_BAD_SUBSTREAMID)
        printf(" substream 0x%lx", field_get(EVENT0_SUBSTREAMID, event->dw[0]));
    for (unsigned i = 0; i < ARRAY_COUNT(kinds); i++) {
        if (kinds[i].type != type)
            continue;
        if (kinds[i].has_access)
            print_access(event);
        if (kinds[i].has_fetch)
            printf(" fetch 0x%lx", event->dw[3] & EVENT3_ADDRESS);
    }
    printf("\n");
}

bool smmu_event_pop(struct smmu *smmu, struct smmu_event *event)
{
    struct smmu_queue *queue = &smmu->evtq;
    uint32_t position = (uint32_t)BIT(queue->lg2 + 1) - 1;
    uint32_t index = queue->cons & ((uint32_t)BIT(queue->lg2) - 1);

    queue->prod = smmu_read(smmu, SMMU_EVENTQ_PROD);
    if ((queue->prod & position) == (queue->cons & position))
        return false;
    dma_read_barrier();
    for (unsigned i = 0; i < queue->entry_words; i++)
        event->dw[i] = queue->ring[index * queue->entry_words + i];
    queue->cons = ((queue->cons + 1) & position) | (queue->cons & EVENTQ_CONS_OVACKFLG);
    dsb();
    smmu_write(smmu, SMMU_EVENTQ_CONS, queue->cons);
    return true;
}

bool smmu_event_queue_overflowed(const struct smmu *smmu)
{
    uint32_t prod = smmu_read(smmu, SMMU_EVENTQ_PROD);
    uint32_t cons = smmu_read(smmu, SMMU_EVENTQ_CONS);

    return (prod ^ cons) & EVENTQ_PROD_OVFLG;
}

void smmu_event_queue_acknowledge_overflow(struct smmu *smmu)
{
    uint32_t flag = smmu_read(smmu, SMMU_EVENTQ_PROD) & EVENTQ_PROD_OVFLG;

    smmu->evtq.cons = (smmu->evtq.cons & ~EVENTQ_CONS_OVACKFLG) | flag;
    smmu_write(smmu, SMMU_EVENTQ_CONS, smmu->evtq.cons);
}
