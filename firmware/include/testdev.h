/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's iommu-testdev: a PCI function that writes a pattern by DMA and checks where it landed.
 *
 * It writes TESTDEV_PATTERN, repeated, to an address that its IOMMU translates, then reads the
 * bytes back from a physical address past the IOMMU, and compares.
 */
#pragma once

#include "pci.h"

#define TESTDEV_PATTERN 0x12345678u

/* Results. */
#define TESTDEV_OK 0
#define TESTDEV_IDLE 0xffffffffu
#define TESTDEV_BUSY 0xfffffffeu
#define TESTDEV_BAD_LENGTH 0xdead0001u
#define TESTDEV_WRITE_FAILED 0xdead0002u
#define TESTDEV_READ_BACK_FAILED 0xdead0003u
#define TESTDEV_MISMATCH 0xdead0004u
#define TESTDEV_NOT_ARMED 0xdead0005u
#define TESTDEV_BAD_ATTRIBUTES 0xdead0006u

struct testdev {
    struct pci_device pci;
};

/* Finds the device on bus 0 and turns it on; its StreamID is dev->pci.rid. */
bool testdev_find(struct testdev *dev);

/* One DMA write of length bytes to iova, to be found again at pa; returns the result. */
uint32_t testdev_dma(const struct testdev *dev, uint64_t iova, uint64_t pa, uint32_t length);

/* A result in words. */
const char *testdev_result_name(uint32_t result);
