# SPDX-License-Identifier: MIT
# The smallest machine that boots a distribution's Linux: pc (i440fx), with the clocks it may choose
# from and the two debug ports the conformance guest uses.
CONFIG_I440FX=y
CONFIG_HPET=y
CONFIG_ISA_DEBUG=y
