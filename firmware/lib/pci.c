/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pci.h"

#include "bits.h"
#include "board.h"
#include "console.h"
#include "mmio.h"

#define ECAM_OFFSET(rid, offset) (((uintptr_t)(rid) << 12) + (offset))
#define NO_DEVICE 0xffffffffu

static uintptr_t next_bar = PCIE_MMIO_BASE;

uint32_t pci_read32(const struct pci_device *device, unsigned offset)
{
    return read32(PCIE_ECAM_BASE + ECAM_OFFSET(device->rid, offset));
}

void pci_write32(const struct pci_device *device, unsigned offset, uint32_t value)
{
    write32(PCIE_ECAM_BASE + ECAM_OFFSET(device->rid, offset), value);
}

bool pci_find(struct pci_device *device, uint16_t vendor_id, uint16_t device_id)
{
    for (unsigned slot = 0; slot < 32; slot++) {
        device->rid = (uint16_t)(slot << 3);

        uint32_t ids = pci_read32(device, PCI_VENDOR_ID);
        if (ids != NO_DEVICE && ids == ((uint32_t)device_id << 16 | vendor_id))
            return true;
    }
    return false;
}

bool pci_enable(struct pci_device *device)
{
    uint32_t command = pci_read32(device, PCI_COMMAND) & 0xffff;

    pci_write32(device, PCI_COMMAND, command & ~(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER));
    pci_write32(device, PCI_BAR0, ~0u);

    uint32_t probe = pci_read32(device, PCI_BAR0);
    uint32_t size = -(probe & ~0xfu);
    if (!size || probe & PCI_BAR_TYPE_MASK) {
        printf("pci: BAR 0 of device 0x%x is no 32-bit memory: 0x%x\n", device->rid, probe);
        return false;
    }
    device->bar0 = align_up(next_bar, size);
    next_bar = device->bar0 + size;
    pci_write32(device, PCI_BAR0, (uint32_t)device->bar0);
    pci_write32(device, PCI_COMMAND, command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    return true;
}
