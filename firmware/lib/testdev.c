/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "testdev.h"

#include "bits.h"
#include "console.h"
#include "mmio.h"

#define VENDOR_ID 0x1b36
#define DEVICE_ID 0x0005

/* Registers in BAR 0, 32 bits each. */
#define REG_TRIGGER 0x00 /* reading it runs what is armed */
#define REG_IOVA_LO 0x04
#define REG_IOVA_HI 0x08
#define REG_LENGTH 0x0c
#define REG_RESULT 0x10
#define REG_DOORBELL 0x14
#define DOORBELL_ARM BIT(0)
#define REG_ATTRIBUTES 0x18
#define ATTRIBUTES_SPACE BITS(2, 1)
#define ATTRIBUTES_SPACE_NON_SECURE 1
#define ATTRIBUTES_SPACE_VALID BIT(3)
#define REG_PA_LO 0x1c
#define REG_PA_HI 0x20

bool testdev_find(struct testdev *dev)
{
    if (!pci_find(&dev->pci, VENDOR_ID, DEVICE_ID)) {
        printf("no iommu-testdev on PCI bus 0\n");
        return false;
    }
    if (!pci_enable(&dev->pci))
        return false;
    printf("iommu-testdev at 00:%02x.%u: BAR 0 0x%08lx, StreamID 0x%x\n", dev->pci.rid >> 3,
           dev->pci.rid & 7u, dev->pci.bar0, dev->pci.rid);
    return true;
}

uint32_t testdev_dma(const struct testdev *dev, uint64_t iova, uint64_t pa, uint32_t length)
{
    uintptr_t bar = dev->pci.bar0;

    write32(bar + REG_IOVA_LO, (uint32_t)iova);
    write32(bar + REG_IOVA_HI, (uint32_t)(iova >> 32));
    write32(bar + REG_PA_LO, (uint32_t)pa);
    write32(bar + REG_PA_HI, (uint32_t)(pa >> 32));
    write32(bar + REG_LENGTH, length);
    write32(bar + REG_ATTRIBUTES, field_put(ATTRIBUTES_SPACE, ATTRIBUTES_SPACE_NON_SECURE) |
                                      ATTRIBUTES_SPACE_VALID);
    write32(bar + REG_DOORBELL, DOORBELL_ARM);
    dsb();
    read32(bar + REG_TRIGGER);

    uint32_t result;
    do {
        result = read32(bar + REG_RESULT);
    } while (result == TESTDEV_BUSY);
    dsb();
    return result;
}

const char *testdev_result_name(uint32_t result)
{
    switch (result) {
    case TESTDEV_OK:
        return "ok";
    case TESTDEV_IDLE:
        return "idle";
    case TESTDEV_BUSY:
        return "busy";
    case TESTDEV_BAD_LENGTH:
        return "bad length";
    case TESTDEV_WRITE_FAILED:
        return "write failed";
    case TESTDEV_READ_BACK_FAILED:
        return "read back failed";
    case TESTDEV_MISMATCH:
        return "read back other data";
    case TESTDEV_NOT_ARMED:
        return "not armed";
    case TESTDEV_BAD_ATTRIBUTES:
        return "bad attributes";
    default:
        return "unknown result";
    }
}
