#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The library from Python, by ctypes and the standard library alone: replay a script of a guest.

    replay.py LIBRARY [SCRIPT]

LIBRARY is libhvtlfs.so.0. SCRIPT holds the commands cpuid, rdmsr, wrmsr, hypercall and read of
`hvtlfs replay` (man hvtlfs-replay) with `=> EXPECTED`; without it a short one is used. Exit status 1: a result
is not the expected one.

The structs are those of <hvtlfs/partition.h> and <hvtlfs/host.h>, member by member; that Python and C agree on
them is checked by the sizes that hvtlfs_config_init() writes.
"""
import ctypes as c
import sys

SCRIPT = """
cpuid 0 0x40000001 => eax=0x31237648 ebx=0x0 ecx=0x0 edx=0x0
wrmsr 0 0x40000001 0x5001 => ok
rdmsr 0 0x40000001 => 0x0
wrmsr 0 0x40000000 0x8100060100000000 => ok
wrmsr 0 0x40000001 0x5001 => ok
rdmsr 0 0x40000001 => 0x5001
read 0x5000 4 => 0f01c1c3
rdmsr 0 0x40000020 => #GP
wrmsr 0 0x40000002 1 => #GP
rdmsr 0 0x1b => unclaimed
hypercall 0 rcx=0xffff => 0x2
"""
PAGE = 4096

READ = c.CFUNCTYPE(c.c_bool, c.c_void_p, c.c_uint64, c.c_void_p, c.c_size_t)
PROBE = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_uint64)

# struct hvtlfs_host_ops after its three obligatory members: pointers that stay NULL here.
OTHER_CALLBACKS = """overlay_set overlay_clear gpa_compare_exchange lock unlock request_interrupt kick
    apic_write apic_read send_ipi tlb_flush guest_tsc host_time tsc_emulation arm_deadline vp_runtime
    spin_wait system_reset crash npiep stats_page debug_read debug_write tlb_flush_queued
    switch_address_space flush_guest_physical get_register set_register start_vp retarget_interrupt
    boot_zeroed_memory trace""".split()


class HostOps(c.Structure):
    _fields_ = [("size", c.c_size_t), ("gpa_read", READ), ("gpa_write", READ), ("gpa_probe", PROBE),
                *((name, c.c_void_p) for name in OTHER_CALLBACKS)]


class Config(c.Structure):
    _fields_ = [("size", c.c_size_t), ("ops", HostOps), ("context", c.c_void_p),
                ("vp_count", c.c_uint32), ("vps", c.c_void_p), ("features", c.c_uint64 * 2),
                ("spin_count", c.c_uint32), ("vendor", c.c_char * 16), ("cpuid_base", c.c_uint32),
                ("version", c.c_uint32 * 4), ("max_vps", c.c_uint32), ("max_lps", c.c_uint32),
                ("hardware_features", c.c_uint32), ("gpa_bits", c.c_uint32), ("trap", c.c_int),
                ("trap_code", c.c_uint8 * 16), ("trap_size", c.c_uint32), ("tsc_hz", c.c_uint64),
                ("apic_hz", c.c_uint64), ("invariant_tsc", c.c_bool), ("policy", c.c_uint32),
                ("hypercall_reps", c.c_uint32), ("hypercall_time", c.c_uint32), ("calls", c.c_void_p),
                ("call_count", c.c_uint32), ("connection_count", c.c_uint32),
                ("message_buffers", c.c_uint32)]


class CpuidRegs(c.Structure):
    _fields_ = [(name, c.c_uint32) for name in ("eax", "ebx", "ecx", "edx")]


class HypercallRegs(c.Structure):
    _fields_ = [*((name, c.c_uint64) for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8")),
                ("xmm", c.c_uint64 * 12), ("mode", c.c_int), ("cpl", c.c_uint8),
                ("changed", c.c_uint32), ("fault_gpa", c.c_uint64), ("fault_access", c.c_uint32)]


class Machine:
    """Guest memory and one partition with one VP."""

    def __init__(self, path):
        self.lib = c.CDLL(path)
        self.lib.hvtlfs_version.restype = c.c_char_p
        self.lib.hvtlfs_partition_vp.restype = c.c_void_p
        self.lib.hvtlfs_partition_vp.argtypes = [c.c_void_p, c.c_uint32]
        self.ram = bytearray(1 << 20)
        self.config = self.configuration()
        size = c.c_size_t()
        self.check(self.lib.hvtlfs_partition_size(c.byref(self.config), c.byref(size), None))
        self.memory = c.create_string_buffer(size.value + PAGE)  # aligned by hand
        start = (c.addressof(self.memory) + PAGE - 1) // PAGE * PAGE
        partition = c.c_void_p()
        self.check(self.lib.hvtlfs_partition_init(c.c_void_p(start), size, c.byref(self.config),
                                                      c.byref(partition), None))
        self.vp = c.c_void_p(self.lib.hvtlfs_partition_vp(partition, 0))

    def configuration(self):
        config = Config()
        self.lib.hvtlfs_config_init(c.byref(config))
        if (config.size, config.ops.size) != (c.sizeof(Config), c.sizeof(HostOps)):
            raise SystemExit("replay.py describes another version's structs than this library's")
        config.ops.gpa_read, config.ops.gpa_write = READ(self.gpa_read), READ(self.gpa_write)
        config.ops.gpa_probe = PROBE(lambda _, gpa: 0 if gpa < len(self.ram) else 1)
        config.trap = 1  # HVTLFS_TRAP_VMCALL
        return config

    @staticmethod
    def check(status):
        if status:
            raise SystemExit(f"the library says {status} (enum hvtlfs_status)")

    def gpa_read(self, _, gpa, buffer, size):
        if gpa + size > len(self.ram):
            return False
        c.memmove(buffer, bytes(self.ram[gpa:gpa + size]), size)
        return True

    def gpa_write(self, _, gpa, buffer, size):
        if gpa + size > len(self.ram):
            return False
        self.ram[gpa:gpa + size] = c.string_at(buffer, size)
        return True

    # ---- The commands ----

    def cpuid(self, _, leaf, subleaf="0"):
        regs = CpuidRegs()
        self.lib.hvtlfs_cpuid(self.vp, int(leaf, 0), int(subleaf, 0), c.byref(regs))
        return " ".join(f"{name}={getattr(regs, name):#x}" for name, _ in CpuidRegs._fields_)

    def rdmsr(self, _, number):
        value = c.c_uint64()
        result = self.lib.hvtlfs_msr_read(self.vp, int(number, 0), c.byref(value))
        return {1: "#GP", 2: "unclaimed"}.get(result, f"{value.value:#x}")

    def wrmsr(self, _, number, value):
        result = self.lib.hvtlfs_msr_write(self.vp, int(number, 0), c.c_uint64(int(value, 0)))
        return {1: "#GP", 2: "unclaimed"}.get(result, "ok")

    def hypercall(self, _, *registers):
        regs = HypercallRegs(mode=2)  # HVTLFS_MODE_LONG64
        for name, value in (register.split("=") for register in registers):
            setattr(regs, name, int(value, 0))
        while self.lib.hvtlfs_hypercall(self.vp, c.byref(regs)) == 2:  # continue
            pass
        return f"{regs.rax:#x}"

    def read(self, gpa, size):
        return self.ram[int(gpa, 0):int(gpa, 0) + int(size, 0)].hex()


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    machine = Machine(sys.argv[1])
    script = SCRIPT
    if len(sys.argv) > 2:
        with open(sys.argv[2]) as file:
            script = file.read()
    done = failed = 0
    for number, line in enumerate(script.splitlines(), 1):
        command, _, expected = line.partition("=>")
        words = command.split()
        if not words or words[0].startswith("#") or words[0] == "partition":
            continue
        if words[0] not in ("cpuid", "rdmsr", "wrmsr", "hypercall", "read"):
            raise SystemExit(f"line {number}: replay.py does not know {words[0]}")
        result = getattr(machine, words[0])(*words[1:])
        done += 1
        if expected.strip() and result != expected.strip():
            print(f"line {number}: expected {expected.strip()}, got {result}")
            failed += 1
    print(f"libhvtlfs {machine.lib.hvtlfs_version().decode()}: {done} commands, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
