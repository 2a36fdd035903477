/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interrupt controller as a GICv3 (Arm IHI 0069) with one core, LPIs and an ITS.
 *
 * An image that uses it defines gic_dispatch() as gicv3_dispatch(): the vectors call the former.
 */
#pragma once

#include <stdbool.h>

#include "bits.h"
#include "gic.h"

#define FIRST_LPI 8192
#define LPI_COUNT 64 /* that have handlers */

/* Whether the core has a GIC's system registers. */
bool gicv3_here(void);

/* Turns everything on, LPIs and ITS included; interrupts are off. False if there is no ITS. */
bool gicv3_init(void);

void gicv3_enable(unsigned irq, enum gic_trigger trigger, irq_handler handler);

/* Takes one pending interrupt and runs its handler; false when there was none. */
bool gicv3_dispatch(void);

/* Sends an interrupt from 0 to 15 to this core. */
void gicv3_send_sgi(unsigned irq);

/* A byte of the configuration table; the ITS's INV makes it count. */
void lpi_configure(unsigned lpi, bool enabled, irq_handler handler);

/* Where devices write an EventID. */
#define GITS_TRANSLATER (GITS_BASE + 0x10040)
#define GITS_BASE 0x08080000ul

/* Commands of the ITS; each waits until it was executed. */
void its_map_device(uint32_t device, unsigned event_bits);
void its_unmap_device(uint32_t device);
void its_map_event(uint32_t device, uint32_t event, unsigned lpi);
void its_interrupt(uint32_t device, uint32_t event);
void its_clear(uint32_t device, uint32_t event);
void its_discard(uint32_t device, uint32_t event);
void its_invalidate(uint32_t device, uint32_t event);
void its_invalidate_all(void);
void its_move(uint32_t device, uint32_t event, uint16_t collection);
