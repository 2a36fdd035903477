/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI Express devices on bus 0, by ECAM (PCI Express Base Specification, 7.2.2).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_COMMAND_MEMORY 0x2
#define PCI_COMMAND_MASTER 0x4
#define PCI_BAR0 0x10
#define PCI_BAR_TYPE_MASK 0x7 /* I/O space, 64-bit */

struct pci_device {
    uint16_t rid; /* requester id: bus << 8 | device << 3 | function */
    uintptr_t bar0;
};

uint32_t pci_read32(const struct pci_device *device, unsigned offset);
void pci_write32(const struct pci_device *device, unsigned offset, uint32_t value);

/* Finds a device on bus 0 by its ids. */
bool pci_find(struct pci_device *device, uint16_t vendor_id, uint16_t device_id);

/* Gives a 32-bit memory BAR 0 an address, and turns memory space and bus mastering on. */
bool pci_enable(struct pci_device *device);
