#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks of the command hvtlfs from outside.

usage: check_tool.py [BUILD_BIN_DIR SOURCE_DIR]

Without arguments the command is $HVTLFS_TOOL and the sources are in $HVTLFS_SOURCE_DIR. One line
for each check, then "N passed, N failed"; exit status 1 if any failed.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

passed = 0
failed = 0


def check(name, good, detail=""):
    """Count and print one check."""
    global passed, failed
    if good:
        passed += 1
        print(f"ok   {name}")
    else:
        failed += 1
        print(f"FAIL {name}")
        for line in str(detail).splitlines():
            print(f"     {line}")


def run(*arguments, script=None):
    """Run the command; returns status, standard output, standard error."""
    done = subprocess.run([TOOL, *arguments], input=script, capture_output=True, timeout=120)
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


def expect(name, arguments, status, *words, script=None, where="both"):
    """The exit status and words that must appear (a leading '!' : must not)."""
    if isinstance(script, str):
        script = script.encode()
    got, out, err = run(*arguments, script=script)
    text = {"out": out, "err": err, "both": out + err}[where]
    missing = [w for w in words if (w[1:] in text if w.startswith("!") else w not in text)]
    check(name, got == status and not missing,
          f"arguments {arguments}\nexit status {got}, expected {status}\n"
          f"not as expected: {missing}\n{out}{err}")


def json_lines(*arguments, script=None):
    """Output as a list of JSON values, or None with a failed check."""
    status, out, err = run(*arguments, script=script)
    try:
        return [json.loads(line) for line in out.splitlines()]
    except json.JSONDecodeError as error:
        check(f"JSON of {arguments}", False, f"exit status {status}\n{error}\n{out}{err}")
        return []


def replay(name, body, status, *words, where="both", options=()):
    expect(name, ["replay", *options, "-"], status, *words, script=body, where=where)


# ---- The scripts of the repository ----

def check_scripts():
    scripts = sorted((SOURCE / "tests" / "replay").glob("*.hvt"))
    check("there are replay scripts", len(scripts) > 0)
    for script in scripts:
        status, out, err = run("replay", str(script))
        check(f"replay {script.name}", status == 0 and out == "" and err == "", out + err)
    status, out, err = run("replay", *map(str, scripts))
    check("all scripts in one go", status == 0, out + err)


def check_every_script_checks():
    """A script that expects nothing proves nothing."""
    for script in sorted((SOURCE / "tests" / "replay").glob("*.hvt")):
        expectations = sum(" => " in line for line in script.read_text().splitlines())
        check(f"{script.name} expects something", expectations > 0)


def check_manual_example():
    """The example of the man page is a script that passes."""
    text = (SOURCE / "docs" / "man" / "hvtlfs-replay.5").read_text()
    example = text.split(".Bd -literal\n")[1].split(".Ed")[0]
    replay("the example of hvtlfs-replay(5)", example, 0)


def check_manual_complete():
    """Every verb, option, command and partition option is in the manual."""
    verbs = (SOURCE / "docs" / "man" / "hvtlfs.1").read_text()
    language = (SOURCE / "docs" / "man" / "hvtlfs-replay.5").read_text()
    for verb in VERBS:
        check(f"hvtlfs(1) has {verb}", f".Cm {verb}" in verbs)
        for word in run(verb, "--help")[1].split():
            if word.startswith("--") and word != "--help":
                check(f"hvtlfs(1) has {verb} {word}", f"Fl -{word.strip('[]')[2:]}" in verbs)
    for command in COMMANDS:
        check(f"hvtlfs-replay(5) has {command}", f".It Cm {command}" in language)
    known = run("replay", "-", script=b"partition nonsense=1\n")[2].split("known: ")[1].split()
    for option in known:
        check(f"hvtlfs-replay(5) has {option}", f"Cm {option}" in language)


# ---- Usage ----

VERBS = ["cpuid", "features", "check", "page", "decode", "replay", "state"]
COMMANDS = ["partition", "cpuid", "rdmsr", "wrmsr", "hypercall", "regs", "read", "write", "tsc",
            "sleep", "interrupts", "events", "reset", "save", "load"]


def check_usage():
    expect("--help lists the verbs", ["--help"], 0, "usage:", *VERBS, where="out")
    expect("--version", ["--version"], 0, "hvtlfs ", where="out")
    expect("help", ["help"], 0, "usage:", where="out")
    expect("help VERB", ["help", "page"], 0, "hvtlfs page", where="out")
    expect("no verb", [], 2, "verb", "--help", where="err")
    expect("unknown verb", ["repaly"], 2, "repaly", "did you mean 'replay'", where="err")
    expect("unknown verb like none", ["xyzzyxyzzy"], 2, "xyzzy", "--help", "!did you", where="err")
    expect("unknown option before the verb", ["--verbose"], 2, "--verbose", where="err")
    for verb in VERBS:
        expect(f"{verb} --help", [verb, "--help"], 0, f"usage: hvtlfs {verb}", "--json",
               "Exit status", where="out")
        expect(f"{verb} with an unknown option", [verb, "--jsn"], 2, "--jsn",
               "did you mean '--json'", where="err")
        expect(f"{verb} --json with a value", [verb, "--json=1"], 2, "takes no value", where="err")
    # It becomes the program, so it has nothing of its own to print.
    expect("kvm --help", ["kvm", "--help"], 0, "usage: hvtlfs kvm run --", "--library", where="out")
    expect("kvm without run", ["kvm"], 2, "run -- PROGRAM", where="err")
    expect("kvm run of a program that is not there", ["kvm", "run", "--library", "/dev/null", "--", "no-such-program"], 127,
           "not found", where="err")
    expect("kvm run with a library that is not there", ["kvm", "run", "--library", "/no/such", "--", "true"], 2,
           "/no/such", where="err")
    expect("kvm run asks for statistics", ["kvm", "run", "--statistics", "--library", "/dev/null", "--", "sh", "-c",
                                           "echo said $HVTLFS_KVM_STATISTICS"], 0, "said 1", where="out")
    expect("kvm run passes arguments and status", ["kvm", "run", "--library", "/dev/null", "--", "sh", "-c", "echo $0 $1; exit 7", "a", "-b"],
           7, "a -b", where="out")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([TOOL, "features"], stdout=full, stderr=subprocess.PIPE)
    check("output to a full disk is a failure", done.returncode == 2, done.stderr)


# ---- cpuid, features, page ----

def check_cpuid():
    expect("cpuid", ["cpuid"], 0, "0x40000000  eax=0x40000005", "0x40000005  eax=0x00000000",
           "AccessHypercallMsrs", "AccessVpIndex", where="out")
    expect("cpuid --profile minimal", ["cpuid", "--profile", "minimal"], 0, "eax=0x00000060")
    expect("cpuid --profile=minimal", ["cpuid", "--profile=minimal"], 0, "eax=0x00000060")
    expect("cpuid with an unknown profile", ["cpuid", "--profile", "windows-3"], 2, "windows-3",
           "minimal", where="err")
    expect("cpuid with an unknown feature", ["cpuid", "--features", "hv-relaxed,hv-vapci"], 2,
           "hv-vapci", "did you mean 'vapic'", where="err")
    expect("cpuid with a malformed value", ["cpuid", "--features", "hv-spinlocks=x"], 2,
           "hv-spinlocks=x", where="err")
    expect("cpuid without a dependency", ["cpuid", "--features", "hv-stimer"], 2, "stimer",
           where="err")
    expect("cpuid without a value", ["cpuid", "--features"], 2, "--features LIST", where="err")
    expect("cpuid with an argument", ["cpuid", "0x40000000"], 2, "0x40000000", where="err")
    expect("cpuid --features", ["cpuid", "--features", "relaxed,hv-spinlocks=0x1fff"], 0,
           "0x40000004  eax=0x00000020 ebx=0x00001fff", where="out")
    expect("cpuid --set", ["cpuid", "--set"], 0, "AccessVpIndex", "!AccessSynicRegs", where="out")
    leaves = {leaf["leaf"]: leaf for leaf in json_lines("cpuid", "--json")}
    check("cpuid --json has the leaves",
          sorted(leaves) == ["0x1"] + [f"0x{n:x}" for n in range(0x40000000, 0x40000006)], leaves)
    check("cpuid --json has the values", leaves.get("0x40000003", {}).get("eax") == "0x60", leaves)
    fields = {field["name"]: field for field in leaves.get("0x40000003", {}).get("fields", [])}
    check("cpuid --json has the fields",
          fields.get("AccessVpIndex", {}).get("value") == "0x1" and
          fields["AccessVpIndex"]["low"] == 6 and fields["AccessVpIndex"]["register"] == "eax",
          fields)
    for leaf in leaves.values():
        check(f"fields of {leaf['leaf']} add up to its registers", registers_of(leaf) ==
              [leaf[r] for r in ("eax", "ebx", "ecx", "edx")], leaf)


def registers_of(leaf):
    """Put a leaf's registers together again from its fields."""
    values = dict.fromkeys(("eax", "ebx", "ecx", "edx"), 0)
    for field in leaf["fields"]:
        values[field["register"]] |= int(field["value"], 16) << field["low"]
    return [f"0x{value:x}" for value in values.values()]


def check_features():
    expect("features", ["features"], 0, "relaxed", "vapic", "spinlocks", where="out")
    expect("features with an argument", ["features", "x"], 2, "'x'", where="err")
    expect("features PROFILE", ["features", "windows-11"], 0, "gives   relaxed", "leaves  crash")
    whole = json_lines("features", "--json")
    check("features --json is one object", len(whole) == 1, whole)
    rows = whole[0]["features"]
    names = {row["name"] for row in rows}
    check("features --json", rows and all(row["name"] and row["summary"] for row in rows), rows)
    check("feature names are unique", len(names) == len(rows))
    check("dependencies name features", all(set(row["needs"]) <= names for row in rows))
    for profile in whole[0]["profiles"]:
        given = [row["name"] for row in profile["rows"] if row["kind"] != "sets"]
        check(f"profile {profile['name']} decides every feature with a reason",
              sorted(given) == sorted(names) and all(row["reason"] for row in profile["rows"]))


DUMP = """CPU:
   0x00000001 0x00: eax=0x000306c3 ebx=0x00010800 ecx=0xfffa3223 edx=0x0f8bfbff
   0x40000000 0x00: eax=0x40000005 ebx=0x7263694d ecx=0x666f736f edx=0x76482074
   0x40000001 0x00: eax=0x31237648 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
   0x40000003 0x00: eax=0x0000024a ebx=0x00001000 ecx=0x00000000 edx=0x00000000
   0x40000004 0x00: eax=0x00000020 ebx=0xffffffff ecx=0x00000000 edx=0x00000000
   0x40000005 0x00: eax=0xffffffff ebx=0x00000040 ecx=0x00000000 edx=0x00000000
"""


def check_check():
    expect("check: a good list", ["check", "--guest", "linux", "hypercall,vpindex,relaxed"], 0,
           "0 errors")
    expect("check: a dependency", ["check", "stimer"], 1, "hv-stimer needs hv-synic")
    expect("check --fix", ["check", "--fix", "hv-stimer-direct"], 0, "hv-vpindex", "hv-synic",
           "hv-time-ref-count")
    expect("check: a QEMU line as typed", ["check", "-cpu", "host,hv_relaxed,hv_time"], 1,
           "mandatory-vp-index")
    expect("check: a typing error", ["check", "-cpu host,hv_relaxt"], 2, "'relaxt'", where="err")
    expect("check: nothing", ["check"], 2, "expected one", where="err")
    expect("check: a guest nobody knows", ["check", "--guest", "os2", "relaxed"], 2, "os2",
           where="err")
    expect("check: a dump", ["check", "-"], 1, "mandatory-hypercall", "cpu-management",
           "stimer-without-synic", script=DUMP.encode())
    for profile in json_lines("features", "--json")[0]["profiles"]:
        guest = {"linux": "linux", "freebsd": "freebsd"}.get(profile["name"], "windows")
        answer = json_lines("check", "--json", "--guest", guest, profile["name"])
        check(f"check {profile['name']} finds no error", answer and answer[0]["errors"] == 0, answer)


def check_state():
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "state")
        start = f"partition vps=2\nwrmsr 0 GUEST_OS_ID 0x8100000000000000\nwrmsr 0 HYPERCALL 0x5001\n"
        replay("save and load", (start + f"save {file} => ok\nwrmsr 0 GUEST_OS_ID 1\n"
               f"load {file} => ok\nrdmsr 1 GUEST_OS_ID => 0x8100000000000000\n"
               "read 0x5000 4 => 0f01c1c3\n").encode(), 0)
        expect("state", ["state", file], 0, "identity.guest_os_id", "0x8100000000000000", "VCLK of VP 1")
        fields = json_lines("state", "--json", file)
        check("state --json", {"section", "tag", "name", "size", "value"} <= set(fields[0]), fields)
        with open(file, "r+b") as damaged:
            damaged.seek(100)
            damaged.write(b"x")
        expect("state: damaged", ["state", file], 1, "header.digest")
        replay("load what is damaged", f"partition vps=2\nload {file}\n".encode(), 0,
               options=["--print"])
        replay("load into another partition", f"partition vps=3\nload {file}\n".encode(), 0,
               "refused", options=["--print"])
    expect("state: no file", ["state", "/nonexistent"], 2, "/nonexistent", where="err")


def check_page():
    bodies = {"none": "b802000000ba00000000c3", "vmcall": "0f01c1c3", "vmmcall": "0f01d9c3"}
    for trap, body in bodies.items():
        page = json_lines("page", "--trap", trap, "--json")
        check(f"page --trap {trap} --json",
              len(page) == 1 and page[0]["page"] == body + "cc" * (4096 - len(body) // 2), page)
        check(f"page --trap {trap}: the instructions are the bytes",
              "".join(i["bytes"] for i in page[0]["instructions"]) == body, page)
    expect("page", ["page"], 0, "vmcall", "ret", "int3", where="out")
    expect("page --trap none", ["page", "--trap", "none"], 0, "mov eax, 0x2", "mov edx, 0x0", "ret")
    expect("page --code", ["page", "--code", "e67a"], 0, "out 0x7a, al", "ret", where="out")
    expect("page --code of unknown bytes", ["page", "--code", "d9eb"], 0, "db 0xd9", "db 0xeb")
    expect("page --code with a cut instruction", ["page", "--code", "b80100"], 0, "db 0x00")
    expect("page --code of 16 bytes", ["page", "--code", "90" * 16], 0, "nop", "ret")
    expect("page --code of 17 bytes", ["page", "--code", "90" * 17], 2, "1 to 16", where="err")
    expect("page --code of no bytes", ["page", "--code", ""], 2, "1 to 16", where="err")
    expect("page --code of half a byte", ["page", "--code", "9"], 2, "1 to 16", where="err")
    expect("page --code with a trap", ["page", "--trap", "vmcall", "--code", "90"], 2, "custom")
    expect("page --trap custom alone", ["page", "--trap", "custom"], 2, "--code", where="err")
    expect("page with an unknown trap", ["page", "--trap", "vmcal"], 2, "vmcal",
           "did you mean 'vmcall'", where="err")


# ---- reftime: the numbers are checked by check_reftime.py ----

def check_reftime():
    expect("reftime", ["reftime", "--tsc-hz", "1000000000", "2000000000"], 0,
           "0x028f5c28f5c28f5c", "19999999", "20000000", where="out")
    expect("reftime below 10 MHz", ["reftime", "--tsc-hz", "10000000", "7"], 1, "rate-low", "7")
    expect("reftime without a rate known", ["reftime", "--tsc-hz", "0"], 1, "rate-unknown")
    expect("reftime with a negative offset",
           ["reftime", "--tsc-hz", "1000000000", "--offset", "-7", "0"], 0, "18446744073709551609")
    expect("reftime --plot", ["reftime", "--tsc-hz", "3000000000", "--plot"], 0, "2^64", where="out")
    expect("reftime --svg", ["reftime", "--tsc-hz", "3000000000", "--svg"], 0, "<svg", "</svg>")
    expect("reftime --plot of no scale", ["reftime", "--tsc-hz", "1", "--plot"], 1, "no scale",
           where="err")
    expect("reftime without --tsc-hz", ["reftime", "5"], 2, "--tsc-hz", where="err")
    expect("reftime with a wrong rate", ["reftime", "--tsc-hz", "3GHz"], 2, "3GHz", where="err")
    expect("reftime with a wrong TSC", ["reftime", "--tsc-hz", "3000000000", "x"], 2, "'x'")
    expect("reftime with a wrong offset",
           ["reftime", "--tsc-hz", "3000000000", "--offset", "-x"], 2, "-x", where="err")


# ---- decode ----

def check_decode():
    expect("decode nothing", ["decode"], 2, "os-id", where="err")
    expect("decode an unknown kind", ["decode", "mrs", "1"], 2, "mrs", "did you mean 'msr'")
    expect("decode a kind alone", ["decode", "status"], 2, "status needs", where="err")
    check_decode_os_id()
    check_decode_msr()
    check_decode_hypercall()
    check_decode_status()
    check_decode_cpuid()


def check_decode_os_id():
    expect("decode os-id of Linux", ["decode", "os-id", "0x8100000601000000"], 0, "Linux", "6.1.0")
    expect("decode os-id of Windows", ["decode", "os-id", "0x0001040A00000000"], 0, "Microsoft",
           "0xa", where="out")
    expect("decode os-id of FreeBSD", ["decode", "os-id", "0x8200000000000000"], 0, "FreeBSD")
    expect("decode os-id 0", ["decode", "os-id", "0"], 0, "not reported", where="out")
    expect("decode os-id of a word", ["decode", "os-id", "linux"], 2, "linux", where="err")
    expect("decode os-id of 65 bits", ["decode", "os-id", "0x10000000000000000"], 2, "64-bit")
    rows = json_lines("decode", "--json", "os-id", "0x8100000000000000", "1")
    check("decode os-id --json",
          len(rows) == 2 and rows[0]["os"] == "Linux" and rows[1]["os-id"] == "0x1", rows)


def check_decode_msr():
    expect("decode msr by number", ["decode", "msr", "0x40000001"], 0, "HV_X64_MSR_HYPERCALL")
    expect("decode msr by name", ["decode", "msr", "HV_X64_MSR_EOI", "sint3"], 0, "0x40000070",
           "0x40000093", where="out")
    expect("decode msr with a value", ["decode", "msr", "0x40000001=0x1003"], 0, "Locked",
           "HypercallGpfn", "0x1", where="out")
    expect("decode msr with an identity", ["decode", "msr", "GUEST_OS_ID=0x8100000000000000"], 0,
           "Linux", where="out")
    expect("decode msr without a name", ["decode", "msr", "0x400001FF"], 1, "0x400001ff", "faults")
    expect("decode msr outside", ["decode", "msr", "0x10"], 1, "no MSR", where="out")
    expect("decode msr of an unknown name", ["decode", "msr", "GUEST_OS_IT"], 1, "did you mean")
    expect("decode msr with a malformed value", ["decode", "msr", "0x40000001=x"], 2, "'x'")
    expect("decode msr of 33 bits", ["decode", "msr", "0x140000001"], 2, "a number", where="err")
    rows = json_lines("decode", "msr", "--json", "0x400000B0=0x2000B")
    names = {f["name"]: f["value"] for f in rows[0]["fields"]} if rows else {}
    check("decode msr --json",
          names.get("Sintx") == "0x2" and names.get("AutoEnable") == "0x1" and
          names.get("Periodic") == "0x1" and names.get("Lazy") == "0x0", rows)


def check_decode_hypercall():
    expect("decode hypercall of the manual", ["decode", "hypercall", "0x0000000300010002"], 0,
           "HvCallFlushVirtualAddressSpace", "RepCount", "0x3", "Fast", "simple call", where="out")
    expect("decode hypercall by name", ["decode", "hypercall", "HvCallPostMessage"], 0,
           "0x000000000000005c", where="out")
    expect("decode hypercall by short name", ["decode", "hypercall", "signalevent"], 0,
           "HvCallSignalEvent", where="out")
    expect("decode hypercall with reserved bits", ["decode", "hypercall", "0x8000100008000003"], 0,
           "0x8000100008000000", where="out")
    expect("decode hypercall without repetitions", ["decode", "hypercall", "3"], 0, "rep call")
    expect("decode hypercall beyond the count", ["decode", "hypercall", "0x0002000200000003"], 0,
           "not below RepCount", where="out")
    expect("decode hypercall in order", ["decode", "hypercall", "0x0001000200000003"], 0,
           "!invalid", where="out")
    expect("decode hypercall of an unknown code", ["decode", "hypercall", "0x7FFF"], 1, "no call")
    expect("decode hypercall of an unknown name", ["decode", "hypercall", "PostMesage"], 1,
           "did you mean 'PostMessage'", where="err")
    rows = json_lines("decode", "hypercall", "--json", "0x0000000300010002")
    check("decode hypercall --json", len(rows) == 1 and len(rows[0]["notes"]) == 1 and
          rows[0]["name"] == "HvCallFlushVirtualAddressSpace", rows)


def check_decode_status():
    expect("decode status", ["decode", "status", "0x0004"], 0, "HV_STATUS_INVALID_ALIGNMENT")
    expect("decode status by name", ["decode", "status", "access_denied"], 0, "0x0006")
    expect("decode status of a result", ["decode", "status", "0x0000000A00000000"], 0,
           "HV_STATUS_SUCCESS", "RepsCompleted", "0xa", where="out")
    expect("decode status without a name", ["decode", "status", "0x9999"], 1, "no status")
    expect("decode status of a word", ["decode", "status", "0xzz"], 2, "0xzz", where="err")
    rows = json_lines("decode", "--json", "status", "2", "3")
    check("decode status --json",
          [row["name"] for row in rows] ==
          ["HV_STATUS_INVALID_HYPERCALL_CODE", "HV_STATUS_INVALID_HYPERCALL_INPUT"], rows)


def check_decode_cpuid():
    expect("decode cpuid LEAF REG=VALUE", ["decode", "cpuid", "0x40000003", "eax=0x60", "EBX=1"],
           0, "AccessVpIndex", "CreatePartitions", where="out")
    expect("decode cpuid LEAF.REG=VALUE", ["decode", "cpuid", "0x40000003.eax=0x60"], 0,
           "AccessVpIndex", where="out")
    expect("decode cpuid of a reserved bit", ["decode", "cpuid", "0x40000001.ebx=1"], 0,
           "Reserved", where="out")
    expect("decode cpuid LEAF", ["decode", "cpuid", "0x40000004"], 0, "LongSpinWait", where="out")
    expect("decode cpuid NAME", ["decode", "cpuid", "accessvpindex"], 0, "0x40000003", "eax[6]")
    expect("decode cpuid of an unknown name", ["decode", "cpuid", "AccessVpIndx"], 1,
           "did you mean 'AccessVpIndex'", where="err")
    expect("decode cpuid of an unknown leaf", ["decode", "cpuid", "0x40000070"], 1, "no fields")
    expect("decode cpuid of an unknown register", ["decode", "cpuid", "0x40000003", "esi=1"], 2,
           "esi=1", where="err")
    expect("decode cpuid of 33 bits", ["decode", "cpuid", "0x40000003.eax=0x100000000"], 2,
           "32-bit")
    rows = json_lines("decode", "--json", "--set", "cpuid", "0x40000003", "eax=0x60", "1.ecx=0")
    check("decode cpuid --json",
          len(rows) == 2 and [f["name"] for f in rows[0]["fields"]] ==
          ["AccessHypercallMsrs", "AccessVpIndex"], rows)


# ---- replay: results ----

START = "partition vps=2\n"


def check_comparison():
    leaf1 = "cpuid 0 0x40000001"
    good = {
        "numbers by value": "rdmsr 1 0x40000002 => 0x0001",
        "decimal against hexadecimal": f"{leaf1} => eax=824407624 ebx=0x0 ecx=00 edx=0",
        "upper case digits": "cpuid 0 0x40000000 => eax=0X40000005 ebx=0x7263694D ecx=0x666F736F "
                             "edx=0x76482074",
        "folded white space": f"  {leaf1}\t =>\teax=0x31237648   ebx=0\tecx=0 edx=0  ",
        "comment behind": "rdmsr 1 0x40000002 => 1 # the index",
        "a fault is no comment": "rdmsr 0 0x40000004 => #GP",
        "carriage return": "rdmsr 1 0x40000002 => 1\r",
        "bytes in groups": "read 0x1000 4 => 00 00 0000",
        "bytes of any case": "write 0 aB => ok\nread 0 1 => Ab",
        "an MSR by name": "rdmsr 1 HV_X64_MSR_VP_INDEX => 1\nrdmsr 1 vp_index => 1",
    }
    for name, line in good.items():
        replay(f"comparison: {name}", START + line + "\n", 0)
    bad = {
        "another number": ("rdmsr 1 0x40000002 => 2", "-:2: expected 2, got 0x1"),
        "another word": ("rdmsr 0 0x40000004 => #gp", "-:2: expected #gp, got #GP"),
        "another register": (f"{leaf1} => ebx=0x31237648 ebx=0 ecx=0 edx=0", "-:2: expected"),
        "too few words": (f"{leaf1} => eax=0x31237648 ebx=0 ecx=0", "-:2: expected"),
        "too many words": ("rdmsr 1 0x40000002 => 1 1", "-:2: expected 1 1, got 0x1"),
        "a number for a word": ("wrmsr 0 0x40000000 0 => 0", "expected 0, got ok"),
        "too few bytes": ("read 0x1000 4 => 000000", "expected 000000, got 00000000"),
        "other bytes": ("read 0x1000 2 => 00 01", "expected 00 01, got 0000"),
    }
    for name, (line, message) in bad.items():
        replay(f"mismatch: {name}", START + line + "\n", 1, message, where="out")
    replay("the first mismatch ends the script",
           START + "rdmsr 0 2 => 1\nrdmsr 0 3 => 1\nnonsense\n", 1, "-:2:", "!-:3:", "!nonsense")
    replay("a mismatch shows folded text", START + "# c\n\nrdmsr 1  0x40000002 =>   7   8 \n", 1,
           "-:4: expected 7 8, got 0x1\n", where="out")


def check_print():
    body = START + "rdmsr 1  0x40000002 => 1\n# comment\nrdmsr 0 0x10\n"
    status, out, _ = run("replay", "--print", "-", script=body.encode())
    check("--print shows every result", status == 0 and out.splitlines() ==
          ["partition vps=2 => ok", "rdmsr 1 0x40000002 => 0x1", "rdmsr 0 0x10 => unclaimed"], out)
    replay("--print output is a script that passes", out, 0)
    for script in sorted((SOURCE / "tests" / "replay").glob("*.hvt")):
        _, out, _ = run("replay", "--print", str(script))
        replay(f"--print of {script.name} passes again", out, 0)
    rows = json_lines("replay", "--json", "-",
                      script=(START + "rdmsr 1 VP_INDEX => 2\n").encode())
    check("replay --json", len(rows) == 2 and rows[0]["ok"] is True and
          rows[1] == {"file": "-", "line": 2, "command": "rdmsr 1 VP_INDEX", "result": "0x1",
                      "expected": "2", "ok": False}, rows)


def check_files():
    with tempfile.TemporaryDirectory() as folder:
        good = pathlib.Path(folder, "good.hvt")
        bad = pathlib.Path(folder, "bad \"1\".hvt")
        good.write_text(START + "rdmsr 1 VP_INDEX => 1")
        bad.write_text(START + "rdmsr 1 VP_INDEX => 3")
        expect("a last line without a newline", ["replay", str(good)], 0)
        expect("FILE:LINE names the file", ["replay", str(bad)], 1,
               f"{bad}:2: expected 3, got 0x1\n", where="out")
        expect("several files, the worst counts", ["replay", str(bad), str(good)], 1)
        expect("each file has its own partition", ["replay", str(good), str(good)], 0)
        expect("a missing file", ["replay", str(good), folder + "/none"], 2, "none", where="err")
        expect("a folder", ["replay", folder], 2, folder, where="err")
        rows = json_lines("replay", "--json", str(bad))
        check("a file name in JSON", rows and rows[-1]["file"] == str(bad), rows)
    expect("no file", ["replay"], 2, "script is missing", where="err")


# ---- replay: malformed lines ----

def check_malformed_lines():
    lines = {
        "unknown command": ("rdmrs 0 1", "rdmrs", "did you mean 'rdmsr'"),
        "no such VP": ("rdmsr 2 0x40000000", "VP index from 0 to 1", "'2'"),
        "a word for a VP": ("rdmsr x 0x40000000", "VP index", "'x'"),
        "a negative VP": ("rdmsr -1 0x40000000", "VP index", "'-1'"),
        "a missing MSR": ("rdmsr 0", "rdmsr VP MSR"),
        "a word too many": ("rdmsr 0 1 2", "rdmsr VP MSR"),
        "a missing value": ("wrmsr 0 0x40000000", "wrmsr VP MSR VALUE"),
        "a value of 65 bits": ("wrmsr 0 0x40000000 0x10000000000000000", "a value"),
        "an MSR of 33 bits": ("rdmsr 0 0x100000000", "an MSR"),
        "an MSR nobody knows": ("rdmsr 0 VP_INDX", "VP_INDX", "did you mean 'VP_INDEX'"),
        "a leaf of 33 bits": ("cpuid 0 0x140000000", "a leaf"),
        "a subleaf that is none": ("cpuid 0 1 x", "a subleaf"),
        "a hypercall without a VP": ("hypercall", "hypercall VP"),
        "an unknown register": ("hypercall 0 rip=1", "rip=1"),
        "a register without a value": ("hypercall 0 rcx", "'rcx'"),
        "an empty value": ("hypercall 0 rcx=", "rcx"),
        "a 32-bit register in 64-bit mode": ("hypercall 0 eax=1", "'eax'", "mode=32"),
        "a 64-bit register in 32-bit mode": ("hypercall 0 mode=32 rcx=1", "'rcx'", "mode=64"),
        "33 bits in EAX": ("hypercall 0 mode=32 eax=0x100000000", "eax"),
        "an unknown mode": ("hypercall 0 mode=16", "mode=16", "mode=32"),
        "a level that does not exist": ("hypercall 0 cpl=4", "cpl"),
        "too few XMM digits": ("hypercall 0 xmm0=00", "32 hexadecimal digits"),
        "an XMM register too many": ("hypercall 0 xmm6=" + "0" * 32, "xmm0 to xmm5"),
        "a length of 0": ("read 0 0", "at least 1"),
        "too long a read": ("read 0 0x100001", "a length"),
        "half a byte": ("write 0 123", "even number"),
        "no bytes": ("write 0 xy", "hexadecimal"),
        "tsc without a sign": ("tsc 5", "+N or =N"),
        "tsc without a number": ("tsc +", "+N or =N"),
        "a sleep beyond the clock": ("sleep 0xFFFFFFFFFFFFFFFF", "100 ns"),
        "events of another kind": ("events some", "events all"),
        "an expectation without a result": ("reset =>", "after '=>'"),
        "an expectation without a command": ("=> ok", "before '=>'"),
        "an open quotation mark": ("rdmsr 0 \"1", "closing"),
        "a second partition": ("partition", "only"),
        "a NUL byte": ("reset\0", "NUL"),
    }
    for name, (line, *words) in lines.items():
        replay(f"malformed: {name}", START + "\n" + line + "\n", 2, "-:3: ", *words, where="err")


def check_malformed_partition():
    lines = {
        "an unknown option": ("vsp=2", "vsp", "did you mean 'vps'"),
        "an option without a value": ("vps", "vps="),
        "an option twice": ("vps=1 vps=1", "only once"),
        "no VP": ("vps=0", "VP"),
        "too many VPs": ("vps=4097", "4097"),
        "an absurd number of VPs": ("vps=99999999999", "a number"),
        "RAM of no pages": ("ram=4097", "4096"),
        "RAM with a strange suffix": ("ram=1T", "4096"),
        "too narrow addresses": ("phys-bits=31", "31"),
        "too wide addresses": ("phys-bits=53", "53"),
        "an unknown feature": ("features=hv-relaxd", "hv-relaxd", "did you mean 'relaxed'"),
        "a feature without another": ("features=hv-stimer", "stimer"),
        "features that exclude each other": ("features=no-vp-limit,hv-tlbflush", "tlbflush"),
        "an unknown profile": ("profile=windows-3", "windows-3", "minimal"),
        "an unknown trap": ("trap=int3", "int3", "vmmcall"),
        "a trap of no bytes": ("trap=code:", "1"),
        "a trap of 17 bytes": ("trap=code:" + "90" * 17, "16"),
        "an overlay mode that is none": ("overlays=maybe", "host or copy"),
        "neither yes nor no": ("invariant-tsc=on", "yes or no"),
        "a long vendor": ("vendor=abcdefghijklm", "12"),
        "a longer vendor": ("vendor=abcdefghijklmnopqrst", "12"),
        "a strange base": ("cpuid-base=0x50000000", "cpuid_base", "0x40000000"),
    }
    for name, (line, *words) in lines.items():
        replay(f"partition: {name}", "# first\npartition " + line + "\n", 2, "-:2: ", *words,
               where="err")
    replay("no partition line", "cpuid 0 1\n", 2, "-:1: ", "partition", "cpuid", where="err")
    replay("an empty script", "", 2, "partition", where="err")
    replay("a script of comments", "# nothing\n\n", 2, "partition", where="err")
    replay("a partition with a quoted vendor", "partition vendor=\"a b\"\n"
           "cpuid 0 0x40000000 => eax=0x40000005 ebx=0x622061 ecx=0 edx=0\n", 0)
    replay("a feature that is not offered is named", "partition features=hv-time,hv-synic\n", 0)


# ---- replay: the model ----

def check_model():
    replay("memory is memory", START +
           "write 0xFFF 0102 => ok\nread 0xFFE 4 => 00010200\nread 0xFFFFFF 1 => 00\n"
           "read 0xFFFFFF 2 => unmapped\nwrite 0xFFFFFF 0102 => unmapped\nread 0xFFFFFF 1 => 00\n"
           "read 0x1000000 1 => unmapped\nread 0xFFFFFFFFFFFFFFFF 2 => unmapped\n", 0)
    replay("nothing has happened", START + "events => none\ninterrupts 1 => none\n", 0)
    replay("requests are told once", "partition features=hv-spinlocks=1\n"
           "hypercall 0 rcx=0x10008 rdx=5 => 0\nhypercall 0 rcx=0x10008 rdx=6 => 0\n"
           "events => spin-wait vp=0 spins=5; spin-wait vp=0 spins=6\nevents => none\n", 0)
    replay("time goes to its end and no further", START +
           "sleep 0xFFFFFFFF00000000 => ok\ntsc =0xFFFFFFFFFFFFFFFF => ok\ntsc +2 => ok\n", 0)
    body = START + "wrmsr 0 0x40000000 1\nwrmsr 0 0x40000001 0x1001\n" + 200000 * (
        "rdmsr 1 0x40000002 => 1\nhypercall 0 rcx=0x7fff => 2\n")
    replay("400 000 lines", body, 0)
    replay("the largest partition", "partition vps=4096 ram=64K\nrdmsr 4095 VP_INDEX => 4095\n"
           "reset => ok\n", 0)


def main():
    check_scripts()
    check_every_script_checks()
    check_manual_example()
    check_manual_complete()
    check_usage()
    check_cpuid()
    check_features()
    check_check()
    check_state()
    check_page()
    check_reftime()
    check_decode()
    check_comparison()
    check_print()
    check_files()
    check_malformed_lines()
    check_malformed_partition()
    check_model()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if len(sys.argv) == 3:
    TOOL = str(pathlib.Path(sys.argv[1], "hvtlfs").resolve())
    SOURCE = pathlib.Path(sys.argv[2])
elif len(sys.argv) == 1 and {"HVTLFS_TOOL", "HVTLFS_SOURCE_DIR"} <= os.environ.keys():
    TOOL = os.environ["HVTLFS_TOOL"]
    SOURCE = pathlib.Path(os.environ["HVTLFS_SOURCE_DIR"])
else:
    sys.exit(__doc__.strip().split("\n\n")[1])
sys.exit(main())
