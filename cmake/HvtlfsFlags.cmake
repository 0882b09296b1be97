# SPDX-License-Identifier: MIT
# How our own code is compiled. Two INTERFACE targets, linked PRIVATE by the targets of this
# project and never exported, so nothing here reaches a program that uses the library.
#
#   hvtlfs_warnings  what the compiler complains about
#   hvtlfs_build     both of that and sanitizers, coverage, hardening, reproducible paths
#
# Freestanding guest code links hvtlfs_warnings only.
include(CheckCCompilerFlag)
include(CheckLinkerFlag)

add_library(hvtlfs_warnings INTERFACE)
target_compile_options(hvtlfs_warnings INTERFACE $<$<COMPILE_LANGUAGE:C>:
    -Wall -Wextra -Wpedantic
    -Wcast-align -Wcast-qual -Wconversion -Wformat=2 -Wimplicit-fallthrough -Wmissing-prototypes
    -Wnull-dereference -Wold-style-definition -Wpointer-arith -Wshadow -Wstrict-prototypes
    -Wswitch-enum -Wundef -Wvla -Wwrite-strings>)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    target_compile_options(hvtlfs_warnings INTERFACE $<$<COMPILE_LANGUAGE:C>:
        -Wduplicated-branches -Wduplicated-cond -Wlogical-op>)
endif()
if(HVTLFS_WERROR)
    target_compile_options(hvtlfs_warnings INTERFACE $<$<COMPILE_LANGUAGE:C>:-Werror>)
endif()

add_library(hvtlfs_build INTERFACE)
target_link_libraries(hvtlfs_build INTERFACE hvtlfs_warnings)

# Objects do not depend on where the tree lies. The build folder comes second: it may lie inside
# the source folder, and the compilers prefer the later or the longer of two matches.
target_compile_options(hvtlfs_build INTERFACE
    -ffile-prefix-map=${PROJECT_SOURCE_DIR}=.
    -ffile-prefix-map=${PROJECT_BINARY_DIR}=./build)

# Linking a sanitized or instrumented library needs the runtime: these options also go to whatever
# links it from the build tree.
set(HVTLFS_RUNTIME_OPTIONS)
if(HVTLFS_SANITIZE)
    target_compile_options(hvtlfs_build INTERFACE -fsanitize=${HVTLFS_SANITIZE}
        -fno-sanitize-recover=all -fno-omit-frame-pointer)
    list(APPEND HVTLFS_RUNTIME_OPTIONS -fsanitize=${HVTLFS_SANITIZE})
endif()
if(HVTLFS_FUZZ_FAST)
    # One instruction in place of a call with a report; libFuzzer says where the trap was.
    target_compile_options(hvtlfs_build INTERFACE -fsanitize-trap=undefined)
    list(APPEND HVTLFS_RUNTIME_OPTIONS -fsanitize-trap=undefined)
endif()
if(HVTLFS_BUILD_FUZZERS AND HVTLFS_FUZZ_COVERAGE)
    target_compile_options(hvtlfs_build INTERFACE -fsanitize-coverage=${HVTLFS_FUZZ_COVERAGE})
endif()
if(HVTLFS_COVERAGE)
    target_compile_options(hvtlfs_build INTERFACE --coverage -fprofile-update=atomic)
    list(APPEND HVTLFS_RUNTIME_OPTIONS --coverage)
endif()
target_link_options(hvtlfs_build INTERFACE ${HVTLFS_RUNTIME_OPTIONS})

# hvtlfs_try_flag(VARIABLE FLAG [LINKER]): compile or link with FLAG where it is known.
function(hvtlfs_try_flag variable flag)
    if("LINKER" IN_LIST ARGN)
        check_linker_flag(C "${flag}" ${variable})
        if(${variable})
            target_link_options(hvtlfs_build INTERFACE "${flag}")
        endif()
    else()
        check_c_compiler_flag("${flag}" ${variable})
        if(${variable})
            target_compile_options(hvtlfs_build INTERFACE "${flag}")
        endif()
    endif()
endfunction()

if(HVTLFS_HARDENING AND NOT HVTLFS_SANITIZE)
    hvtlfs_try_flag(HVTLFS_HAVE_STACK_PROTECTOR -fstack-protector-strong)
    hvtlfs_try_flag(HVTLFS_HAVE_STACK_CLASH -fstack-clash-protection)
    hvtlfs_try_flag(HVTLFS_HAVE_CF_PROTECTION -fcf-protection)
    hvtlfs_try_flag(HVTLFS_HAVE_RELRO -Wl,-z,relro LINKER)
    hvtlfs_try_flag(HVTLFS_HAVE_NOW -Wl,-z,now LINKER)
    hvtlfs_try_flag(HVTLFS_HAVE_NOEXECSTACK -Wl,-z,noexecstack LINKER)
    target_compile_options(hvtlfs_build INTERFACE
        $<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2>)
endif()
