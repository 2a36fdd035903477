/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dma_engine.h"

#include "console.h"
#include "mmio.h"

#define VENDOR_ID 0x1234
#define DEVICE_ID 0x5d4a

/* Registers in BAR 0, 32 bits each. */
#define REG_MAGIC 0x00
#define MAGIC 0x31414d44
#define REG_CONTROL 0x0c
#define CONTROL_ATS BIT(0)
#define CONTROL_PRI BIT(1)
#define REG_ATC_ENTRIES 0x10
#define REG_ATS_REQUESTS 0x14

/* And in a channel. */
#define CHANNEL(n) (0x100 + 0x80 * (n))
#define REG_COMMAND 0x00
#define COMMAND_START BIT(0)
#define REG_STATUS 0x04
#define STATUS_STATE BITS(2, 0)
#define REG_COUNT 0x0c
#define REG_TABLE 0x10
#define REG_ACCESS 0x18
#define REG_MSI_DATA 0x1c
#define REG_MSI_ADDRESS 0x20

/* Doublewords of a descriptor. */
#define DESCRIPTOR0_LENGTH BITS(63, 32)
#define DESCRIPTOR4_RESULT BITS(7, 0)
#define DESCRIPTOR4_MOVED BITS(63, 32)

bool engine_find(struct dma_engine *engine)
{
    if (!pci_find(&engine->pci, VENDOR_ID, DEVICE_ID) || !pci_enable(&engine->pci) ||
        read32(engine->pci.bar0 + REG_MAGIC) != MAGIC)
        return false;
    printf("DMA engine at 00:%02x.%u: BAR 0 0x%08lx, StreamID 0x%x\n", engine->pci.rid >> 3,
           engine->pci.rid & 7u, engine->pci.bar0, engine->pci.rid);
    return true;
}

void engine_describe(volatile struct engine_descriptor *descriptor,
                     const struct engine_request *request)
{
    descriptor->dw[0] =
        request->operation | request->access | field_put(DESCRIPTOR0_LENGTH, request->length);
    descriptor->dw[1] = request->source;
    descriptor->dw[2] = request->destination;
    descriptor->dw[3] = request->value;
    descriptor->dw[4] = 0;
    descriptor->dw[5] = 0;
    dma_write_barrier();
}

uint64_t engine_value(const volatile struct engine_descriptor *descriptor)
{
    return descriptor->dw[3];
}

unsigned engine_result(const volatile struct engine_descriptor *descriptor)
{
    return (unsigned)field_get(DESCRIPTOR4_RESULT, descriptor->dw[4]);
}

uint32_t engine_moved(const volatile struct engine_descriptor *descriptor)
{
    return (uint32_t)field_get(DESCRIPTOR4_MOVED, descriptor->dw[4]);
}

void engine_start(const struct dma_engine *engine, unsigned channel, uint64_t table,
                  unsigned count, uint64_t access)
{
    uintptr_t base = engine->pci.bar0 + CHANNEL(channel);

    write64(base + REG_TABLE, table);
    write32(base + REG_COUNT, count);
    write32(base + REG_ACCESS, (uint32_t)access);
    dsb();
    write32(base + REG_COMMAND, COMMAND_START);
}

enum engine_state engine_state(const struct dma_engine *engine, unsigned channel)
{
    uint32_t status = read32(engine->pci.bar0 + CHANNEL(channel) + REG_STATUS);

    dma_read_barrier();
    return (enum engine_state)field_get(STATUS_STATE, status);
}

const char *engine_state_name(enum engine_state state)
{
    static const char *const names[] = {
        "idle", "busy", "done", "descriptor refused", "transfer failed", "result refused",
    };

    return state < ARRAY_COUNT(names) ? names[state] : "unknown";
}

void engine_set_message(const struct dma_engine *engine, unsigned channel, uint64_t address,
                        uint32_t data)
{
    uintptr_t base = engine->pci.bar0 + CHANNEL(channel);

    write32(base + REG_MSI_DATA, data);
    write64(base + REG_MSI_ADDRESS, address);
}

void engine_ats_enable(const struct dma_engine *engine, bool ats, bool pri)
{
    write32(engine->pci.bar0 + REG_CONTROL,
            (uint32_t)((ats ? CONTROL_ATS : 0) | (pri ? CONTROL_PRI : 0)));
}

unsigned engine_ats_entries(const struct dma_engine *engine)
{
    return read32(engine->pci.bar0 + REG_ATC_ENTRIES);
}

unsigned engine_ats_requests(const struct dma_engine *engine)
{
    return read32(engine->pci.bar0 + REG_ATS_REQUESTS);
}
