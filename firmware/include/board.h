/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where things are on the board: the address map and the interrupts of QEMU's virt machine.
 *
 * Interrupts are GIC interrupt ids: private peripheral interrupt n is id 16 + n, shared
 * peripheral interrupt n is id 32 + n.
 */
#pragma once

#define RAM_BASE 0x40000000ul
#define RAM_SIZE 0x20000000ul /* 512 MiB */

#define GICD_BASE 0x08000000ul
#define GICC_BASE 0x08010000ul
#define GICV2M_BASE 0x08020000ul
#define GICV2M_TYPER 0x08     /* [25:16] the first interrupt that it makes, [9:0] how many */
#define GICV2M_SETSPI_NS 0x40 /* writing an interrupt's number makes it */
#define PL011_BASE 0x09000000ul
#define SMMU_BASE 0x09050000ul
#define SMMU_SIZE 0x20000ul

#define PCIE_ECAM_BASE 0x4010000000ul
#define PCIE_MMIO_BASE 0x10000000ul /* the window for 32-bit BARs */
#define PCIE_MMIO_SIZE 0x2eff0000ul

/* Nothing answers here: an access is an external abort. */
#define NOWHERE_BASE 0x7000000000ul

#define PPI(n) (16 + (n))
#define SPI(n) (32 + (n))
#define IRQ_TIMER PPI(14) /* the physical timer of EL1 */
#define IRQ_PCIE(slot) SPI(3 + (slot) % 4) /* pin A of a device on bus 0 */
#define IRQ_SMMU_EVENTQ SPI(74)
#define IRQ_SMMU_PRIQ SPI(75)
#define IRQ_SMMU_CMD_SYNC SPI(76)
#define IRQ_SMMU_GERROR SPI(77)

/*
 * How the images share out the RAM. The image itself is linked at 0x40100000 (link.ld); tables
 * and queues come from the pool, so that their addresses do not depend on the image's size.
 */
#define POOL_BASE 0x42000000ul
#define POOL_SIZE 0x04000000ul /* 64 MiB */
#define BLOB_BASE 0x48000000ul /* a file loaded beside the image */
#define DMA_BASE 0x50000000ul  /* targets of DMA */
