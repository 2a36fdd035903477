/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interrupt controller: a GICv2 (Arm IHI 0048) as one core sees it.
 */
#pragma once

#include <stdbool.h>

typedef void (*irq_handler)(void);

/* Turns the distributor and this core's interface on, with every interrupt off. */
void gic_init(void);

enum gic_trigger { GIC_LEVEL, GIC_EDGE };

/* Sends an interrupt to core 0 and to this handler. */
void gic_enable(unsigned irq, enum gic_trigger trigger, irq_handler handler);

/* Takes one pending interrupt and runs its handler; false when there was none. */
bool gic_dispatch(void);
