/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DMA through tables that this image has not written: they are in a file loaded beside it.
 *
 * The file says where its tables are, how a Context descriptor must describe them, and what a
 * write to a number of addresses should do. So one image serves any tables.
 */
#include "board.h"
#include "console.h"
#include "rig.h"
#include "table_blob.h"

static struct rig rig;

static struct cd cd_of(const struct table_blob_space *space, uint16_t asid)
{
    return (struct cd){{
        field_put(CD0_T0SZ, space->tsz) | field_put(CD0_TG0, space->tg) |
            field_put(CD0_IR0, space->ir) | field_put(CD0_OR0, space->or) |
            field_put(CD0_SH0, space->sh) | field_put(CD0_IPS, space->ips) | CD0_EPD1 | CD0_V |
            CD0_AA64 | CD0_R | CD0_A | CD0_ASET | field_put(CD0_ASID, asid),
        space->ttb & CD1_TTB0,
        0,
        space->mair,
    }};
}

static void test_space(const struct table_blob *blob, const struct table_blob_space *space,
                       uint16_t asid)
{
    const struct table_blob_probe *probes =
        (const struct table_blob_probe *)((uintptr_t)blob + space->probe_offset);
    volatile struct cd *memory = smmu_cd_alloc();
    struct cd cd = cd_of(space, asid);
    struct ste ste = smmu_ste_make_s1(memory);

    test_section("%s, table at 0x%lx", space->name, space->ttb);
    smmu_cd_write(memory, &cd);
    if (!smmu_stream_attach(&rig.smmu, rig.sid, &ste)) {
        check(false, "the stream is attached");
        return;
    }
    for (unsigned i = 0; i < space->probe_count; i++) {
        if (probes[i].event_type)
            check_dma_faults(&rig, probes[i].iova, probes[i].event_type, "fault");
        else
            check_dma_lands(&rig, probes[i].iova, probes[i].pa, "mapped");
    }
}

int main(void)
{
    const struct table_blob *blob = (const struct table_blob *)BLOB_BASE;

    test_begin("dma_blob: DMA through tables loaded from a file");
    if (blob->magic != TABLE_BLOB_MAGIC || blob->base != BLOB_BASE) {
        printf("no tables at 0x%lx: load dma_blob.tables there\n", BLOB_BASE);
        check(false, "the tables are loaded");
        return test_end();
    }
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();

    const struct table_blob_space *spaces = (const struct table_blob_space *)(blob + 1);
    for (unsigned i = 0; i < blob->space_count; i++)
        test_space(blob, &spaces[i], (uint16_t)(i + 1));
    return test_end();
}
