# SPDX-License-Identifier: MIT
# How the core is compiled for a kernel. tests/check_freestanding.sh proves it for more targets.
set(HVTLFS_FREESTANDING_OPTIONS -ffreestanding -fno-stack-protector -fno-pic -fno-pie
    -fno-asynchronous-unwind-tables)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    list(APPEND HVTLFS_FREESTANDING_OPTIONS -mcmodel=kernel -mno-red-zone -mno-mmx -mno-sse
        -mno-80387)
endif()
