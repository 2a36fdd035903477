/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PRI queue of an SMMUv3 and its records (Arm IHI 0070, chapter 8). */
#include "console.h"
#include "mmio.h"
#include "smmuv3.h"

bool smmu_page_request_pop(struct smmu *smmu, struct smmu_page_request *request)
{
    struct smmu_queue *queue = &smmu->priq;
    uint32_t position = (uint32_t)BIT(queue->lg2 + 1) - 1;
    uint32_t index = queue->cons & ((uint32_t)BIT(queue->lg2) - 1);

    queue->prod = smmu_read(smmu, SMMU_PRIQ_PROD);
    if ((queue->prod & position) == (queue->cons & position))
        return false;
    dma_read_barrier();
    for (unsigned i = 0; i < queue->entry_words; i++)
        request->dw[i] = queue->ring[index * queue->entry_words + i];
    queue->cons = (queue->cons + 1) & position;
    dsb();
    smmu_write(smmu, SMMU_PRIQ_CONS, queue->cons);
    return true;
}

void smmu_page_request_print(const struct smmu_page_request *request)
{
    uint64_t asked = request->dw[0];

    printf("page request %lu of stream 0x%lx: page 0x%lx to", field_get(PRI1_INDEX, request->dw[1]),
           field_get(PRI0_STREAMID, asked), request->dw[1] & PRI1_ADDRESS);
    if (asked & PRI0_READ)
        printf(" read");
    if (asked & PRI0_WRITE)
        printf(" write");
    if (asked & PRI0_SSV)
        printf(", substream 0x%lx", field_get(PRI0_SUBSTREAMID, asked));
    printf(asked & PRI0_LAST ? ", last of its group\n" : "\n");
}
