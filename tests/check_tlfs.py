#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hold <hvtlfs/tlfs.h> and the name tables against the transcribed specification.

    python3 tests/check_tlfs.py SOURCE_DIR

Every row of tests/tlfs/*.csv becomes one or more static assertions on tlfs.h, or is excused by
name with a reason. The assertions are compiled as one C file by $CC (default: cc); #line makes
the compiler's complaints point at the row that is not met. The tables src/cpuid_bits.def,
statuses.def, registers.def and hypercalls.def must have exactly the rows of the CSV files, in
order. Exit status 0 if all is well, 1 if not.
"""

import csv
import os
import re
import shlex
import subprocess
import sys

REGISTERS = ["EAX", "EBX", "ECX", "EDX"]

LEAVES = {
    0x00000001: "PROCESSOR",
    0x40000000: "VENDOR",
    0x40000001: "INTERFACE",
    0x40000002: "VERSION",
    0x40000003: "FEATURES",
    0x40000004: "RECOMMENDATIONS",
    0x40000005: "LIMITS",
    0x40000006: "HARDWARE",
    0x40000007: "CPU_MANAGEMENT",
    0x40000008: "SVM",
    0x40000009: "NESTED_FEATURES",
    0x4000000A: "NESTED_VIRTUALIZATION",
    0x4000000B: "IPT",
    0x4000000C: "ISOLATION",
    0x40000080: "STACK_VENDOR",
    0x40000081: "STACK_INTERFACE",
    0x40000082: "STACK_PROPERTIES",
}

# Call codes whose CSV row has a remark in place of a plain name.
CALL_NAMES = {
    "Deprecated (v2.0 HvCallAssertVirtualInterrupt)": ["HvCallAssertVirtualInterruptV2"],
    "Deprecated (v2.0 HvCallCreatePort)": ["HvCallCreatePortV2"],
    "HvCallConnectPort (old code)": ["HvCallConnectPortV2"],
    "Reserved (v2.0 HvCallGetSystemProperty; hvdef HvCallOutputDebugCharacter)": [
        "HvCallOutputDebugCharacter",
        "HvCallGetSystemPropertyV2",
    ],
}

# Numbers with several names in status.csv: the current one.
CURRENT_STATUS = {
    0x0020: "HV_STATUS_PROCESSOR_FEATURE_NOT_SUPPORTED",
    0x0026: "HV_STATUS_PROCESSOR_FEATURE_XOP_NOT_SUPPORTED",
    0x0033: "HV_STATUS_INSUFFICIENT_BUFFER",
}

# Spellings that 6.0b has and the current register list has not.
REGISTER_SPELLINGS = {
    "HvX64RegisterSysenterEip": "HvX64RegisterSysenterRip",
    "HvX64RegisterSysenterEsp": "HvX64RegisterSysenterRsp",
    "HvRegisterVpRuntime": "HvX64RegisterVpRuntime",
    "HvX64RegisterSyntheticEoi": "HvX64RegisterEoi",
    "HvX64RegisterSyntheticIcr": "HvX64RegisterIcr",
    "HvX64RegisterSyntheticTpr": "HvX64RegisterTpr",
    "HvRegisterVsmCapabilities": "HV_X64_REGISTER_VSM_CAPABILITIES",
}

# Names from outside the CSV files, with their values.
BEYOND = {
    # Announced by AccessTscInvariantControls; KVM and Linux have the number, the TLFS has not.
    "HV_X64_MSR_TSC_INVARIANT_CONTROL": "0x40000118",
}

# Rows that say nothing a constant could hold: (file, pattern on the row's key) -> reason.
EXCUSES = [
    ("hypercall.csv", r"0x\w+ (Reserved|Not listed)$", "a code without a name has no constant"),
    ("status.csv", r"0x00\w\w Reserved$", "a number without a name has no constant"),
    ("status.csv", r"0x0033 HV_STATUS_INSUFFICIENT_BUFFERS$",
     "a misprint of 0x0013; one name cannot have two values"),
    ("status.csv", r" HV_STATUS_(HYPERCALL_INTERCEPT|NOT_IMPLEMENTED)$", "no published number"),
    ("cpuid.csv", r"\S+ \S+ \S+ Reserved\d*$", "reserved bits have no constant"),
    ("privileges.csv", r"\S+ Reserved\d*$", "reserved bits have no constant"),
    ("hypercall_value.csv", r"regs ", "which register holds what: behaviour of the decoder"),
    ("hypercall_value.csv", r"rules ", "behaviour of the decoder"),
    ("structs.csv", r"HV_MESSAGE_HEADER \(PDF v2\.0-6\.0b\) ",
     "the header has the layout of the online edition"),
    ("structs.csv", r"Hypercall overlay page 0 ", "code, not data"),
    ("worked_values.csv", r"W0(15|16|17)$", "which bits one product sets"),
    ("worked_values.csv", r"W03[456]$", "decoded in test_names, behaviour of the reset MSR"),
    ("worked_values.csv", r"W0(38|40|41|42|45)$", "worked examples of the hypercall decoder"),
    ("worked_values.csv", r"W050$", "printed with a digit missing"),
    ("worked_values.csv", r"W05[135]$", "worked examples of VP sets"),
    ("worked_values.csv", r"W0(59|63|64|65|66)$", "arithmetic of reference time"),
    ("worked_values.csv", r"W101$", "a figure"),
    ("worked_values.csv", r"W1(34|37|44)$", "prose"),
]

# Structures of structs.csv: the CSV's name -> ours, with fields the naming rule cannot derive.
STRUCTS = {
    "HV_REFERENCE_TSC_PAGE": ("hv_reference_tsc_page", {}),
    "HV_VP_ASSIST_PAGE": ("hv_vp_assist_page", {"ReservedZ padding to 4096": "reserved_z"}),
    "SIM page (HV_MESSAGE[16])": (
        "hv_message_page", {"MessageSlot[SINTx] at 256*x": "message_slot"}),
    "HV_MESSAGE": ("hv_message", {}),
    "HV_MESSAGE_HEADER (md, hvdef)": (
        "hv_message_header", {"OriginationId/Sender/Port": "origination_id"}),
    "HV_TIMER_MESSAGE_PAYLOAD": ("hv_timer_message_payload", {}),
    "SIEF page (HV_SYNIC_EVENT_FLAGS[16])": (
        "hv_synic_event_flags_page", {"EventFlags[SINTx] at 256*x": "event_flags"}),
    "HV_SYNIC_EVENT_FLAGS": ("hv_synic_event_flags", {}),
    "HV_VP_SET": ("hv_vp_set", {}),
    "HV_INPUT_FLUSH_VIRTUAL_ADDRESS_SPACE / LIST header": (
        "hv_input_flush_virtual_address_space", {}),
    "HV_INPUT_FLUSH_VIRTUAL_ADDRESS_SPACE_EX / LIST_EX header": (
        "hv_input_flush_virtual_address_space_ex", {}),
    "HV_INPUT_SEND_SYNTHETIC_CLUSTER_IPI": ("hv_input_send_synthetic_cluster_ipi", {}),
    "HV_INPUT_SEND_SYNTHETIC_CLUSTER_IPI_EX": ("hv_input_send_synthetic_cluster_ipi_ex", {}),
    "HV_INPUT_POST_MESSAGE": ("hv_input_post_message", {"Padding/RsvdZ": "padding"}),
    "HV_INPUT_SIGNAL_EVENT": ("hv_input_signal_event", {"RsvdZ": "reserved"}),
    "HV_INPUT_NOTIFY_LONG_SPINWAIT": (
        "hv_input_notify_long_spin_wait",
        {"InitialLongSpinWait (SpinCount)": "initial_long_spin_wait", "RsvdZ": "reserved"}),
    "HV_INPUT_GET/SET_VP_REGISTERS header": ("hv_input_vp_registers", {"RsvdZ": "reserved"}),
    "HvCallSetVpRegisters list element": ("hv_register_assoc", {"RsvdZ": "reserved"}),
    "HV_INPUT_START_VIRTUAL_PROCESSOR / ENABLE_VP_VTL": (
        "hv_input_start_virtual_processor", {"Padding/RsvdZ": "padding"}),
    "HV_X64_SEGMENT_REGISTER": ("hv_x64_segment_register", {}),
    "HV_X64_TABLE_REGISTER": ("hv_x64_table_register", {}),
    "HV_INPUT_GET_VP_INDEX_FROM_APIC_ID header": ("hv_input_get_vp_index_from_apic_id", {}),
    "HV_INPUT_RETARGET_DEVICE_INTERRUPT": ("hv_input_retarget_device_interrupt", {}),
    "HV_EXT_OUTPUT_GET_BOOT_ZEROED_MEMORY (md)": ("hv_ext_output_get_boot_zeroed_memory", {}),
    "HV_EXT_OUTPUT_GET_BOOT_ZEROED_MEMORY (6.0b)": (
        "hv_ext_output_get_boot_zeroed_memory_v6", {}),
    "HV_MONITOR_PAGE": ("hv_monitor_page", {}),
    "VM_PARTITION_ASSIST_PAGE": ("hv_vm_partition_assist_page", {}),
    "HV_SVM_ENLIGHTENED_VMCB_FIELDS (VMCB 0x3E0)": ("hv_svm_enlightened_vmcb_fields", {}),
    "HV_VMX_ENLIGHTENED_VMCS (offsets computed, natural alignment, total 1024 bytes)": (
        "hv_vmx_enlightened_vmcs",
        {"HostEs..HostTr selectors":
            "host_es_selector, host_cs_selector, host_ss_selector, host_ds_selector, "
            "host_fs_selector, host_gs_selector, host_tr_selector"}),
}

# Structures that the last listed field does not end.
STRUCT_SIZES = {
    "hv_vmx_enlightened_vmcs": 1024,
    "hv_vm_partition_assist_page": 4096,
    "hv_ext_output_get_boot_zeroed_memory": 0xFF8,
}

# What follows a structure or stands in a note: (struct, field) -> assertions.
STRUCT_EXTRAS = {
    ("HV_VP_SET", "ValidBanksMask"): ["HV_VP_SET_MAX_BANKS == 64"],
    ("HV_VP_SET", "BankContents[]"): ["sizeof(struct hv_vp_set) == 16"],
    ("HV_INPUT_FLUSH_VIRTUAL_ADDRESS_SPACE_EX / LIST_EX header", "ProcessorSet.BankContents[]"): [
        "sizeof(struct hv_input_flush_virtual_address_space_ex) == 32"],
    ("HV_INPUT_SEND_SYNTHETIC_CLUSTER_IPI_EX", "ProcessorSet.BankContents[]"): [
        "sizeof(struct hv_input_send_synthetic_cluster_ipi_ex) == 24"],
    ("HV_INPUT_GET/SET_VP_REGISTERS header", "Get: RegisterName[]"): [
        "sizeof(struct hv_input_vp_registers) == 16"],
    ("HV_INPUT_GET_VP_INDEX_FROM_APIC_ID header", "ApicId[] (4) + Padding (4)"): [
        "sizeof(struct hv_input_get_vp_index_from_apic_id) == 16",
        "sizeof(struct hv_apic_id_element) == 8", "sizeof(struct hv_vp_index_element) == 8"],
    ("HV_EXT_OUTPUT_GET_BOOT_ZEROED_MEMORY (md)",
     "Range[i] = StartGpa page number (8), PageCount (8)"): [
        "offsetof(struct hv_ext_output_get_boot_zeroed_memory, range) == 8",
        "sizeof(struct hv_boot_zeroed_memory_range) == 16"],
    ("Hypercall overlay page", "VTL call sequence"): [
        "HV_REGISTER_VSM_CODE_PAGE_OFFSETS_VTL_CALL_OFFSET_SHIFT == 0",
        "HV_REGISTER_VSM_CODE_PAGE_OFFSETS_VTL_CALL_OFFSET_MASK == 0xFFF"],
    ("Hypercall overlay page", "VTL return sequence"): [
        "HV_REGISTER_VSM_CODE_PAGE_OFFSETS_VTL_RETURN_OFFSET_SHIFT == 12",
        "HV_REGISTER_VSM_CODE_PAGE_OFFSETS_VTL_RETURN_OFFSET_MASK == 0xFFF000"],
    ("HV_VP_ASSIST_PAGE", "ApicAssist"): ["HV_APIC_ASSIST_NO_EOI_REQUIRED == 1"],
    ("HV_VP_ASSIST_PAGE", "VtlControl.VinaStatus"): ["HV_VINA_STATUS_VINA_ASSERTED == 1"],
    ("HV_VP_ASSIST_PAGE", "NestedEnlightenmentsControl.Features"): [
        "HV_NESTED_ENLIGHTENMENTS_DIRECT_HYPERCALL == 1",
        "HV_NESTED_ENLIGHTENMENTS_VIRTUALIZATION_EXCEPTION == 2"],
    ("HV_VP_ASSIST_PAGE", "NestedEnlightenmentsControl.HypercallControls"): [
        "HV_NESTED_ENLIGHTENMENTS_INTER_PARTITION_COMMUNICATION == 1"],
    ("HV_MESSAGE_HEADER (md, hvdef)", "MessageFlags"): ["HV_MESSAGE_FLAGS_MESSAGE_PENDING == 1"],
    ("HV_INPUT_SEND_SYNTHETIC_CLUSTER_IPI", "Vector"): [
        "HV_CLUSTER_IPI_VECTOR_FIRST == 0x10", "HV_CLUSTER_IPI_VECTOR_LAST == 0xFF"],
    ("HV_INPUT_SEND_SYNTHETIC_CLUSTER_IPI", "TargetVtl"): [
        "HV_INPUT_VTL_TARGET_VTL_SHIFT == 0", "HV_INPUT_VTL_TARGET_VTL_MASK == 0xF",
        "HV_INPUT_VTL_USE_TARGET_VTL == 0x10", "HV_INPUT_VTL_RSVD_Z_MASK == 0xE0"],
    ("HV_INPUT_POST_MESSAGE", "ConnectionId"): [
        "HV_CONNECTION_ID_ID_SHIFT == 0", "HV_CONNECTION_ID_ID_MASK == 0xFFFFFF"],
    ("HV_INPUT_RETARGET_DEVICE_INTERRUPT", "InterruptEntry.InterruptSource"): [
        "HV_INTERRUPT_SOURCE_MSI == 1"],
    ("HV_INPUT_RETARGET_DEVICE_INTERRUPT", "InterruptTarget.Flags"): [
        "HV_DEVICE_INTERRUPT_TARGET_MULTICAST == 1",
        "HV_DEVICE_INTERRUPT_TARGET_PROCESSOR_SET == 2"],
    ("HV_X64_SEGMENT_REGISTER", "Attributes"): [
        "HV_X64_SEGMENT_ATTRIBUTES_TYPE_SHIFT == 0", "HV_X64_SEGMENT_ATTRIBUTES_TYPE_MASK == 0xF",
        "HV_X64_SEGMENT_ATTRIBUTES_S == 1 << 4", "HV_X64_SEGMENT_ATTRIBUTES_DPL_SHIFT == 5",
        "HV_X64_SEGMENT_ATTRIBUTES_DPL_MASK == 3 << 5", "HV_X64_SEGMENT_ATTRIBUTES_P == 1 << 7",
        "HV_X64_SEGMENT_ATTRIBUTES_RSVD_MASK == 0xF << 8",
        "HV_X64_SEGMENT_ATTRIBUTES_AVL == 1 << 12", "HV_X64_SEGMENT_ATTRIBUTES_L == 1 << 13",
        "HV_X64_SEGMENT_ATTRIBUTES_D == 1 << 14", "HV_X64_SEGMENT_ATTRIBUTES_G == 1 << 15"],
    ("HV_MONITOR_PAGE", "TriggerState"): [
        "HV_MONITOR_TRIGGER_STATE_GROUP_ENABLE_SHIFT == 0",
        "HV_MONITOR_TRIGGER_STATE_GROUP_ENABLE_MASK == 0xF"],
    ("HV_MONITOR_PAGE", "TriggerGroup[4]"): [
        "offsetof(struct hv_monitor_trigger_group, pending) == 0",
        "offsetof(struct hv_monitor_trigger_group, armed) == 4"],
    ("HV_MONITOR_PAGE", "Parameter[4][32]"): [
        "offsetof(struct hv_monitor_parameter, connection_id) == 0",
        "offsetof(struct hv_monitor_parameter, flag_number) == 4",
        "offsetof(struct hv_monitor_parameter, reserved_z) == 6"],
    ("HV_SVM_ENLIGHTENED_VMCB_FIELDS (VMCB 0x3E0)", "EnlightenmentsControl"): [
        "HV_ENLIGHTENMENTS_CONTROL_NESTED_FLUSH_VIRTUAL_HYPERCALL == 1",
        "HV_ENLIGHTENMENTS_CONTROL_MSR_BITMAP == 2",
        "HV_ENLIGHTENMENTS_CONTROL_ENLIGHTENED_NPT_TLB == 4"],
    ("HV_GVA_RANGE (extended format)", ""): [
        "HV_GVA_RANGE_EXTENDED_PAGE_SIZE == 1 << 12", "HV_GVA_RANGE_EXTENDED_RSVD_MASK == 0x1FE000",
        "HV_GVA_RANGE_EXTENDED_GVA_LARGE_PAGE_NUMBER_SHIFT == 21",
        "HV_GVA_RANGE_EXTENDED_GVA_LARGE_PAGE_NUMBER_MASK == ~UINT64_C(0) << 21"],
    ("HV_GPA_PAGE_RANGE", ""): [
        "HV_GPA_PAGE_RANGE_PAGE_SIZE == 1 << 12", "HV_GPA_PAGE_RANGE_RSVD_MASK == 0x1FE000",
        "HV_GPA_PAGE_RANGE_BASE_LARGE_PFN_SHIFT == 21",
        "HV_GPA_PAGE_RANGE_BASE_LARGE_PFN_MASK == ~UINT64_C(0) << 21"],
    ("HV_SYNIC_SINT", ""): ["HV_MSR_SINT_PROXY == 1 << 20"],
}

# Rows of structs.csv that describe one qword: the prefix of its fields.
BIT_STRUCTS = {
    "HV_GVA_RANGE (list element, simple)": "HV_GVA_RANGE_",
    "HV_GVA_RANGE (extended format)": "HV_GVA_RANGE_EXTENDED_",
    "HV_GPA_PAGE_RANGE": "HV_GPA_PAGE_RANGE_",
    "HV_SYNIC_SINT": "HV_MSR_SINT_",
    "HV_STIMER_CONFIG": "HV_MSR_STIMER_CONFIG_",
}

# Sizes that hypercall.csv and structs.csv both state.
CALL_STRUCTS = {
    "HvCallFlushVirtualAddressSpace": (
        "input_header_bytes", "hv_input_flush_virtual_address_space"),
    "HvCallFlushVirtualAddressList": (
        "input_header_bytes", "hv_input_flush_virtual_address_space"),
    "HvCallFlushVirtualAddressSpaceEx": (
        "input_header_bytes", "hv_input_flush_virtual_address_space_ex"),
    "HvCallFlushVirtualAddressListEx": (
        "input_header_bytes", "hv_input_flush_virtual_address_space_ex"),
    "HvCallNotifyLongSpinWait": ("input_header_bytes", "hv_input_notify_long_spin_wait"),
    "HvCallSendSyntheticClusterIpi": ("input_header_bytes", "hv_input_send_synthetic_cluster_ipi"),
    "HvCallSendSyntheticClusterIpiEx": (
        "input_header_bytes", "hv_input_send_synthetic_cluster_ipi_ex"),
    "HvCallEnableVpVtl": ("input_header_bytes", "hv_input_start_virtual_processor"),
    "HvCallStartVirtualProcessor": ("input_header_bytes", "hv_input_start_virtual_processor"),
    "HvCallGetVpRegisters": ("input_header_bytes", "hv_input_vp_registers"),
    "HvCallSetVpRegisters": ("rep_input_bytes", "hv_register_assoc"),
    "HvCallPostMessage": ("input_header_bytes", "hv_input_post_message"),
    "HvCallSignalEvent": ("input_header_bytes", "hv_input_signal_event"),
    "HvCallRetargetDeviceInterrupt": ("input_header_bytes", "hv_input_retarget_device_interrupt"),
    "HvCallGetVpIndexFromApicId": ("input_header_bytes", "hv_input_get_vp_index_from_apic_id"),
}

# MSRs that share a layout, and layouts whose fields the naming rule cannot derive.
MSR_GROUPS = [
    (r"(NESTED_)?SINT\d+", "SINT"),
    (r"STIMER\d_CONFIG", "STIMER_CONFIG"),
    (r"POWER_STATE_TRIGGER_C\d", "POWER_STATE_TRIGGER"),
    (r"POWER_STATE_CONFIG_C\d", "POWER_STATE_CONFIG"),
    (r"STATS_\w+_PAGE", "STATS_PAGE"),
    (r"NESTED_(SCONTROL|SVERSION|SIEFP|SIMP|EOM)", r"\1"),
]
GUEST_OS_ID_FIELDS = {
    "OPEN_SOURCE": (63, 63), "VENDOR_ID": (62, 48), "OS_ID": (47, 40), "MAJOR": (39, 32),
    "MINOR": (31, 24), "SERVICE_VERSION": (23, 16), "BUILD": (15, 0), "OPEN_OS_TYPE": (62, 56),
    "OPEN_OS_ID": (55, 48), "OPEN_VERSION": (47, 16), "OPEN_BUILD": (15, 0),
}

# worked_values.csv. A plain name must equal the row's one number; several names, its numbers in
# order; anything with an operator is asserted as it stands.
WORKED = {
    "W001": ["HV_CPUID_INTERFACE_HV1"],
    "W002": ["HV_CPUID_VENDOR_MICROSOFT_EBX"],
    "W003": ["HV_CPUID_VENDOR_MICROSOFT_ECX"],
    "W004": ["HV_CPUID_VENDOR_MICROSOFT_EDX"],
    "W005": ["HV_CPUID_MAX_LEAF_AT_LEAST"],
    "W006": ["HV_CPUID_PROCESSOR_ECX_HYPERVISOR_PRESENT == UINT32_C(1) << 31"],
    "W007": ["HV_SPIN_WAIT_NEVER_NOTIFY"],
    "W008": ["HV_SPIN_WAIT_DISABLED"],
    "W009": ["HV_CPUID_LIMITS_EAX_NO_VP_LIMIT == UINT32_C(0xFFFFFFFF)"],
    "W010": ["HV_CPUID_LIMITS_LEGACY_MAX_VPS"],
    "W011": ["HV_CPUID_FEATURES_EAX_MINIMAL_SET",
             "HV_CPUID_FEATURES_EAX_MINIMAL_SET == (HV_CPUID_FEATURES_EAX_ACCESS_HYPERCALL_MSRS | "
             "HV_CPUID_FEATURES_EAX_ACCESS_VP_INDEX)"],
    "W012": ["HV_CPUID_FEATURES_EBX_MINIMAL_CLEAR"],
    "W013": ["HV_CPUID_RANGE_FIRST", "HV_CPUID_RANGE_LAST"],
    "W014": ["HV_CPUID_STACK_INTERFACE_VS1"],
    "W018": ["HV_X64_MSR_GUEST_OS_ID"],
    "W019": ["HV_GUEST_OS_VENDOR_MICROSOFT", "HV_GUEST_OS_VENDOR_RESERVED == 0"],
    "W020": ["HV_GUEST_OS_VENDOR_HPE"],
    "W021": ["HV_GUEST_OS_VENDOR_BLACKBERRY"],
    "W022": ["HV_GUEST_OS_VENDOR_LANCOM"],
    "W023": ["HV_GUEST_OS_MICROSOFT_UNDEFINED"],
    "W024": ["HV_GUEST_OS_MICROSOFT_MSDOS"],
    "W025": ["HV_GUEST_OS_MICROSOFT_WINDOWS_3X"],
    "W026": ["HV_GUEST_OS_MICROSOFT_WINDOWS_9X"],
    "W027": ["HV_GUEST_OS_MICROSOFT_WINDOWS_NT"],
    "W028": ["HV_GUEST_OS_MICROSOFT_WINDOWS_CE"],
    "W029": ["HV_GUEST_OS_OPEN_LINUX"],
    "W030": ["HV_GUEST_OS_OPEN_FREEBSD"],
    "W031": ["HV_GUEST_OS_OPEN_XEN"],
    "W032": ["HV_GUEST_OS_OPEN_ILLUMOS"],
    "W033": ["HV_GUEST_OS_OPEN_LINUX_V5"],
    "W037": ["HV_X64_MSR_HYPERCALL"],
    "W039": ["HV_HYPERCALL_NEAR_RETURN"],
    "W043": ["HV_HYPERCALL_XMM_FAST_SIZE == 112", "HV_HYPERCALL_XMM_FAST_REGISTERS == 6",
             "HV_HYPERCALL_FAST_SIZE + HV_HYPERCALL_XMM_FAST_REGISTERS * 16 == 112"],
    "W044": ["HV_HYPERCALL_TIME_SLICE_US == 50"],
    "W046": ["HV_EXT_CALL_THRESHOLD == 0x8000"],
    "W047": ["HV_ARM64_SMCCC_FUNCTION"],
    "W048": ["HV_HYPERCALL_ARM64_FAST_SIZE == 128"],
    "W049": ["HV_ARM64_HYPERVISOR_UID0", "HV_ARM64_HYPERVISOR_UID1", "HV_ARM64_HYPERVISOR_UID2",
             "HV_ARM64_HYPERVISOR_UID3"],
    "W052": ["HV_VP_SET_VPS_PER_BANK == 64"],
    "W054": ["HvGenericSetSparse4k == 0", "HvGenericSetAll == 1"],
    "W056": ["HV_GVA_RANGE_ADDITIONAL_PAGES_MASK == 0xFFF"],
    "W057": ["HV_FLUSH_ALL_PROCESSORS", "HV_FLUSH_ALL_VIRTUAL_ADDRESS_SPACES",
             "HV_FLUSH_NON_GLOBAL_MAPPINGS_ONLY", "HV_FLUSH_USE_EXTENDED_RANGE_FORMAT"],
    "W058": ["HV_CLUSTER_IPI_VECTOR_FIRST", "HV_CLUSTER_IPI_VECTOR_LAST"],
    "W060": ["HV_REFERENCE_TSC_SEQUENCE_INVALID"],
    "W061": ["HV_REFERENCE_TSC_SEQUENCE_V2_LAST == UINT32_C(0xFFFFFFFE)"],
    "W062": ["HV_REFERENCE_TIME_UNIT_NS == 100",
             "HV_REFERENCE_TIME_HZ == 1000000000 / HV_REFERENCE_TIME_UNIT_NS"],
    "W067": ["HV_SYNIC_SINT_COUNT"],
    "W068": ["HV_SYNIC_SINT_DEFAULT", "HV_SYNIC_SINT_DEFAULT == HV_MSR_SINT_MASKED"],
    "W069": ["HV_MSR_SCONTROL_ENABLE == 1 && HV_MSR_SIEFP_ENABLE == 1 && HV_MSR_SIMP_ENABLE == 1"],
    "W070": ["HV_SYNIC_VERSION"],
    "W071": ["HV_SYNIC_SINT_VECTOR_FIRST == 16", "HV_SYNIC_SINT_VECTOR_LAST == 255"],
    "W072": ["HV_MESSAGE_SIZE", "HV_MESSAGE_PAYLOAD_BYTE_COUNT", "HV_MESSAGE_PAYLOAD_QWORD_COUNT",
             "sizeof(struct hv_message) == HV_MESSAGE_SIZE"],
    "W073": ["HV_EVENT_FLAGS_COUNT == 2048", "HV_EVENT_FLAGS_BYTE_COUNT == 256"],
    "W074": ["HV_PORT_GUEST_MESSAGE_BUFFERS"],
    "W075": ["HV_PORT_TIMER_MESSAGE_BUFFERS", "HV_SYNIC_STIMER_COUNT == 4"],
    "W076": ["HV_MESSAGE_TYPE_HYPERVISOR_MASK"],
    "W094": ["HV_TIMER_MESSAGE_PAYLOAD_SIZE",
             "sizeof(struct hv_timer_message_payload) == HV_TIMER_MESSAGE_PAYLOAD_SIZE"],
    "W095": ["offsetof(struct hv_message_header, origination_id) == 8"],
    "W096": ["HvPortTypeMessage == 1", "HvPortTypeEvent == 2", "HvPortTypeMonitor == 3",
             "HvPortTypeDoorbell == 4"],
    "W097": ["HV_CONNECTION_ID_ID_MASK == (1 << 24) - 1", "HV_PORT_ID_ID_SHIFT == 0",
             "HV_PORT_ID_ID_MASK == (1 << 24) - 1"],
    "W098": ["HV_MONITOR_GROUP_COUNT == 4", "HV_MONITOR_TRIGGERS_PER_GROUP == 32"],
    "W099": ["((2 << HV_MSR_STIMER_CONFIG_SINTX_SHIFT) | HV_MSR_STIMER_CONFIG_AUTO_ENABLE | "
             "HV_MSR_STIMER_CONFIG_PERIODIC | HV_MSR_STIMER_CONFIG_ENABLE) == 0x2000B"],
    "W100": ["(HV_MSR_STIMER_CONFIG_DIRECT_MODE | (0x30 << HV_MSR_STIMER_CONFIG_APIC_VECTOR_SHIFT)"
             " | HV_MSR_STIMER_CONFIG_AUTO_ENABLE | HV_MSR_STIMER_CONFIG_ENABLE) == 0x1309"],
    "W102": ["HV_ANY_VP", "HV_VP_INDEX_SELF"],
    "W103": ["HV_PARTITION_ID_INVALID", "HV_PARTITION_ID_SELF"],
    "W104": ["HV_PAGE_SIZE", "HV_PAGE_SIZE == 1 << HV_PAGE_SHIFT"],
    "W105": ["HV_X64_MSR_VP_ASSIST_PAGE"],
    "W106": ["HV_X64_MSR_CRASH_P0 == 0x40000100", "HV_X64_MSR_CRASH_P4 == 0x40000104",
             "HV_X64_MSR_CRASH_CTL == 0x40000105"],
    "W107": ["HV_MSR_CRASH_CTL_CRASH_NOTIFY", "HV_MSR_CRASH_CTL_CRASH_MESSAGE"],
    "W108": ["HV_CRASH_MAXIMUM_MESSAGE_SIZE == 4096"],
    "W109": ["HV_VMX_ENLIGHTENED_VMCS_VERSION"],
    "W110": ["HV_VMX_SYNTHETIC_EXIT_REASON_TRAP_AFTER_FLUSH"],
    "W111": ["HV_SVM_EXITCODE_ENL", "HV_SVM_ENL_EXITCODE_TRAP_AFTER_FLUSH"],
    "W112": ["HV_SVM_VMCB_ENLIGHTENED_FIELDS_OFFSET == 0x3E0",
             "HV_SVM_VMCB_ENLIGHTENED_FIELDS_CLEAN_BIT == 31",
             "sizeof(struct hv_svm_enlightened_vmcb_fields) == 0x3FF - 0x3E0 + 1"],
    "W129": ["HV_NUM_VTLS", "HV_INVALID_VTL", "HV_VTL_ALL"],
    "W130": ["HvVtlEntryReserved == 0", "HvVtlEntryVtlCall == 1", "HvVtlEntryInterrupt == 2",
             "HvVtlEntryIntercept == 3"],
    "W131": ["HV_VTL_PROTECTION_READ == 1 << 0", "HV_VTL_PROTECTION_WRITE == 1 << 1",
             "HV_VTL_PROTECTION_UMX == 1 << 2", "HV_VTL_PROTECTION_KMX == 1 << 3"],
    "W132": ["HV_SCHEDULER_SHARE_MAX == 0x10000", "0xC000 * 4 == HV_SCHEDULER_SHARE_MAX * 3"],
    "W133": ["HV_SCHEDULER_CAP_DEFAULT", "HV_SCHEDULER_WEIGHT_DEFAULT",
             "HV_SCHEDULER_RESERVE_DEFAULT"],
    "W135": ["HV_INTERRUPT_VECTOR_NONE"],
    "W136": ["HvX64InterruptTypeFixed == 0", "HvX64InterruptTypeLowestPriority == 1",
             "HvX64InterruptTypeSmi == 2", "HvX64InterruptTypeRemoteRead == 3",
             "HvX64InterruptTypeNmi == 4", "HvX64InterruptTypeInit == 5",
             "HvX64InterruptTypeSipi == 6", "HvX64InterruptTypeExtInt == 7",
             "HvX64InterruptTypeLocalInt0 == 8", "HvX64InterruptTypeLocalInt1 == 9"],
    "W138": ["HV_TIME_UNHALTED_TIMER_VECTOR_NMI == 2"],
    "W139": ["HV_EXT_CAPABILITY_BOOT_ZEROED_MEMORY == 1 << 0",
             "HV_EXT_CAPABILITY_MEMORY_HEAT_HINT == 1 << 1",
             "HV_EXT_CAPABILITY_EPF_SETUP == 1 << 2",
             "HV_EXT_CAPABILITY_SCHEDULER_ASSIST_SETUP == 1 << 3",
             "HV_EXT_CAPABILITY_MEMORY_HEAT_HINT_ASYNC == 1 << 4"],
    "W140": ["HV_BOOT_ZEROED_MEMORY_OUTPUT_SIZE", "HV_BOOT_ZEROED_MEMORY_MAX_RANGES"],
    "W141": ["HvCacheTypeX64Uncached == 0", "HvCacheTypeX64WriteCombining == 1",
             "HvCacheTypeX64WriteThrough == 4", "HvCacheTypeX64WriteProtected == 5",
             "HvCacheTypeX64WriteBack == 6"],
    "W142": ["HV_SYNMC_MCA_ERROR_CODE"],
    "W143": ["HV_TRANSLATE_GVA_VALIDATE_READ == 1", "HV_TRANSLATE_GVA_VALIDATE_WRITE == 2",
             "HV_TRANSLATE_GVA_VALIDATE_EXECUTE == 4", "HV_TRANSLATE_GVA_PRIVILEGE_EXEMPT == 8",
             "HV_TRANSLATE_GVA_SET_PAGE_TABLE_BITS == 0x10",
             "HV_TRANSLATE_GVA_TLB_FLUSH_INHIBIT == 0x20", "HV_TRANSLATE_GVA_CONTROL_MASK == 0x3F",
             "HV_TRANSLATE_GVA_INPUT_VTL_SHIFT == 56",
             "HV_TRANSLATE_GVA_INPUT_VTL_MASK == UINT64_C(0xFF00000000000000)"],
}


class Row:
    """A row of a CSV file, with the line it ends on and a key to excuse it by."""

    def __init__(self, file, line, cells, key):
        self.file, self.line, self.cells, self.key = file, line, cells, key

    def __getitem__(self, column):
        return self.cells[column]

    def __str__(self):
        return f"tests/tlfs/{self.file}:{self.line}: {self.key}"


class Checker:
    def __init__(self, source):
        self.source = source
        self.problems = []
        self.assertions = []
        self.counts = {}
        self.used_excuses = set()

    def problem(self, text):
        self.problems.append(text)

    def read(self, path):
        with open(os.path.join(self.source, path), encoding="utf-8", newline="") as stream:
            return stream.read()

    def rows(self, file, *key_columns):
        reader = csv.reader(self.read(f"tests/tlfs/{file}").splitlines())
        header = next(reader)
        result = []
        for cells in reader:
            if len(cells) != len(header):
                self.problem(f"tests/tlfs/{file}:{reader.line_num}: {len(cells)} cells")
                continue
            named = dict(zip(header, cells))
            key = " ".join(named[column] for column in key_columns)
            result.append(Row(file, reader.line_num, named, key))
        return result

    def excused(self, row):
        for number, (file, pattern, _) in enumerate(EXCUSES):
            if file == row.file and re.match(pattern, row.key):
                self.used_excuses.add(number)
                return True
        return False

    def cover(self, row, expressions):
        """Assert what a row says; a row that says nothing must be excused."""
        covered, excused = self.counts.setdefault(row.file, [0, 0])
        if expressions:
            covered += 1
            self.assertions += [(row, expression) for expression in expressions]
        elif self.excused(row):
            excused += 1
        else:
            self.problem(f"{row}: neither checked nor excused")
        self.counts[row.file] = [covered, excused]


def snake(name):
    """The TLFS word in lower case with underscores."""
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def mask(hi, lo):
    return ((1 << (hi - lo + 1)) - 1) << lo


def literal(value):
    return f"UINT64_C(0x{value:X})"


def bits(text):
    hi, _, lo = text.partition(":")
    return int(hi), int(lo or hi)


def field_assertions(prefix, fields):
    """Assertions on the constants of [(hi, lo, word)], reserved ranges gathered."""
    result, reserved = [], {}
    for hi, lo, word in fields:
        kind = re.fullmatch(r"(RsvdZ|RsvdP|Rsvd|Reserved|rsvd)\d*", word)
        if kind:
            name = {"RsvdZ": "RSVD_Z_MASK", "RsvdP": "RSVD_P_MASK"}.get(kind[1], "RSVD_MASK")
            reserved[name] = reserved.get(name, 0) | mask(hi, lo)
        elif (hi, lo) != (63, 0):
            name = prefix + snake(word).upper()
            if hi == lo:
                result.append(f"{name} == {literal(mask(hi, lo))}")
            else:
                result.append(f"{name}_SHIFT == {lo}")
                result.append(f"{name}_MASK == {literal(mask(hi, lo))}")
    result += [f"{prefix}{name} == {literal(value)}" for name, value in reserved.items()]
    return result


def parse_layout(text):
    """"63:12 Gpfn; 11:2 RsvdP; 0 Enable" as [(63, 12, "Gpfn"), ...]; prose yields nothing."""
    fields = []
    for part in text.split(";"):
        found = re.match(r"\s*(\d+(?::\d+)?) ([A-Za-z]\w*)", part)
        if found and "MSR" not in part:
            fields.append((*bits(found[1]), found[2]))
    return fields


def check_msrs(checker):
    for row in checker.rows("msr.csv", "index", "name"):
        expressions = [f"{row['name']} == {row['index']}"]
        short = row["name"].replace("HV_X64_MSR_", "").replace("HV_X64_REGISTER_", "")
        for pattern, group in MSR_GROUPS:
            short = re.sub(f"^{pattern}$", group, short)
        layout, _, older = row["layout"].partition(". ")
        layout = layout.split(" (hvdef")[0]
        prefix = "HV_REGISTER_" if "REGISTER" in row["name"] else "HV_MSR_"
        if short == "GUEST_OS_ID":
            fields = [(hi, lo, name) for name, (hi, lo) in GUEST_OS_ID_FIELDS.items()]
            spelled = [f"{literal(mask(hi, lo))} == HV_MSR_GUEST_OS_ID_{name}"
                       + ("" if hi == lo else "_MASK") for hi, lo, name in fields]
            spelled += [f"HV_MSR_GUEST_OS_ID_{name}_SHIFT == {lo}"
                        for hi, lo, name in fields if hi != lo]
            expressions += spelled
        elif "63:0" not in layout or "Rsvd" in layout:
            expressions += field_assertions(f"{prefix}{short}_", parse_layout(layout))
        if older.startswith("v6.0 printed "):
            fields = parse_layout(older.replace("v6.0 printed ", ""))
            expressions += field_assertions(f"{prefix}{short}_V6_", fields)
        checker.cover(row, expressions)


def call_names(row):
    if row["name"] in CALL_NAMES:
        return CALL_NAMES[row["name"]]
    return [row["name"]] if re.fullmatch(r"Hv\w+", row["name"]) else []


def check_calls(checker):
    for row in checker.rows("hypercall.csv", "code", "name"):
        names = call_names(row)
        expressions = [f"{name} == {row['code']}" for name in names]
        for name in names:
            if name in CALL_STRUCTS:
                column, struct = CALL_STRUCTS[name]
                expressions.append(f"sizeof(struct {struct}) == {row[column]}")
        checker.cover(row, expressions)


def check_statuses(checker):
    for row in checker.rows("status.csv", "numeric", "name"):
        misprint = row["name"] == "HV_STATUS_INSUFFICIENT_BUFFERS" and row["numeric"] == "0x0033"
        numbered = row["numeric"] and row["name"].startswith("HV_STATUS_") and not misprint
        checker.cover(row, [f"{row['name']} == {row['numeric']}"] if numbered else [])


def is_reserved(name):
    return re.fullmatch(r"Reserved\d*", name) is not None


def check_cpuid(checker):
    for row in checker.rows("cpuid.csv", "leaf", "register", "bits", "name"):
        if is_reserved(row["name"]):
            checker.cover(row, [])
            continue
        leaf = LEAVES[int(row["leaf"], 16)]
        hi, lo = bits(row["bits"])
        expressions = [f"HV_CPUID_{leaf} == {row['leaf']}"]
        if hi - lo < 31:
            expressions += field_assertions(
                f"HV_CPUID_{leaf}_{row['register']}_", [(hi, lo, row["name"])])
        if row["name"] == "IsolationType":
            values = re.findall(r"(\d) (\w+)", row["meaning"])
            expressions += [f"HV_ISOLATION_TYPE_{name.upper()} == {n}" for n, name in values]
        checker.cover(row, expressions)


def check_privileges(checker):
    for row in checker.rows("privileges.csv", "mask_bit", "name"):
        if is_reserved(row["name"]):
            checker.cover(row, [])
            continue
        bit, (register, _, position) = row["mask_bit"], row["cpuid_0x40000003"].partition(":")
        word = snake(row["name"]).upper()
        checker.cover(row, [
            f"HV_PARTITION_PRIVILEGE_BIT_{word} == {bit}",
            f"HV_CPUID_FEATURES_{register}_{word} == {literal(1 << int(position))}",
            f"{bit} == {position} + {32 * REGISTERS.index(register)}",
        ])


def check_hypercall_values(checker):
    whole = {
        "input_value (6.0/6.0b)": ("HV_HYPERCALL_INPUT_", "V6_", "RSVD_Z_MASK"),
        "input_value (current md, hvdef)": ("HV_HYPERCALL_INPUT_", "", "RSVD_Z_MASK"),
        "input_value (v5.0-5.0C)": ("HV_HYPERCALL_INPUT_", "V5_", "RSVD_Z_MASK"),
        "input_value (v2.0)": ("HV_HYPERCALL_INPUT_", "V2_", "RSVD_Z_MASK"),
        "result_value": ("HV_HYPERCALL_RESULT_", "", "RSVD_MASK"),
    }
    own_v6 = {"VariableHeaderSize", "IsNested"}
    rules = {
        "MaxFastInput": ["HV_HYPERCALL_FAST_SIZE == 16", "HV_HYPERCALL_XMM_FAST_SIZE == 112"],
        "ParameterPlacement": ["HV_HYPERCALL_ALIGNMENT == 8"],
    }
    rows = checker.rows("hypercall_value.csv", "group", "field")
    reserved = {}
    for row in rows:
        if row["group"] in whole and row["field"].startswith("Rsvd"):
            reserved[row["group"]] = reserved.get(row["group"], 0) | mask(*bits(row["location"]))
    for row in rows:
        if row["group"] not in whole:
            checker.cover(row, rules.get(row["field"], []))
            continue
        prefix, version, rest = whole[row["group"]]
        if row["field"].startswith("Rsvd"):
            value = literal(reserved[row["group"]])
            checker.cover(row, [f"{prefix}{version}{rest} == {value}"])
            continue
        if version == "V6_" and row["field"] in own_v6:
            prefix += version
        fields = [(*bits(row["location"]), row["field"])]
        expressions = field_assertions(prefix, fields)
        if row["field"] == "RepCount":
            expressions.append("HV_HYPERCALL_MAX_REPS == 0xFFF")
        checker.cover(row, expressions)


def member_names(field, special):
    """The members of ours that a field of structs.csv means, a comma between them."""
    if field in special:
        return special[field].split(", ")
    names = []
    for part in field.split(", "):
        part = re.sub(r"\s*\(.*\)$|\[.*", "", part)
        names.append(".".join(snake(word) for word in part.split(".")))
    return names


def struct_assertions(row, struct, special):
    members = member_names(row["field"], special)
    if struct == "hv_input_start_virtual_processor" and int(row["offset"]) >= 16:
        members = ["vp_context." + member for member in members]
    first = f"offsetof(struct {struct}, {members[0]}) == {row['offset']}"
    sizes = " + ".join(f"sizeof(((struct {struct} *)0)->{member})" for member in members)
    result = [first, f"{sizes} == {row['size_bytes']}"]
    for before, after in zip(members, members[1:]):
        result.append(f"offsetof(struct {struct}, {after}) == offsetof(struct {struct}, {before})"
                      f" + sizeof(((struct {struct} *)0)->{before})")
    return result


def flag_assertions(row):
    result = []
    for part in row["field"].split("; "):
        bit, _, name = part.partition(" ")
        name = name if name.startswith("HV_") else "HV_FLUSH_" + snake(name).upper()
        result.append(f"{name} == 1 << {bit}")
    return result


def check_structs(checker):
    ends, unused = {}, set(STRUCT_EXTRAS)
    for row in checker.rows("structs.csv", "struct", "offset", "field"):
        name, field = row["struct"], row["field"]
        key = "" if name in BIT_STRUCTS else field
        extras = STRUCT_EXTRAS.get((name, key), [])
        if name == "HV_REGISTER_NAME":
            names = [field, REGISTER_SPELLINGS.get(field, field)]
            checker.cover(row, [f"{each} == {row['offset']}" for each in names])
        elif name.startswith("Crash MSRs"):
            checker.cover(row, [f"HV_X64_MSR_CRASH_{field} == {row['offset']}"])
        elif name.startswith("HV_HYPERCALL_MSR"):
            fields = parse_layout(field.replace("Gpfn", "HypercallGpfn"))
            checker.cover(row, field_assertions("HV_MSR_HYPERCALL_", fields))
        elif name.startswith("HV_FLUSH_FLAGS"):
            checker.cover(row, flag_assertions(row))
        elif name in BIT_STRUCTS:
            fields = parse_layout(field)
            checker.cover(row, field_assertions(BIT_STRUCTS[name], fields) + extras)
        elif name in STRUCTS and row["offset"].isdigit() and row["size_bytes"].isdigit():
            struct, special = STRUCTS[name]
            ends[struct] = (row, int(row["offset"]) + int(row["size_bytes"]))
            checker.cover(row, struct_assertions(row, struct, special) + extras)
        else:
            checker.cover(row, extras)
        unused.discard((name, key))
    for struct, (row, end) in ends.items():
        size = STRUCT_SIZES.get(struct, end)
        checker.assertions.append((row, f"sizeof(struct {struct}) == {size}"))
    for name, key in unused:
        checker.problem(f"structs.csv: no row {name} {key}")


def worked_assertions(row):
    values = re.findall(r"0x[0-9A-Fa-f]+|1 << \d+|\d+", row["expected_value"])
    if row["input_or_subject"].startswith("message type "):
        word = row["input_or_subject"].replace("message type ", "")
        word = "HvMessageTimerExpired" if word == "TimerExpired" else "HvMessageType" + word
        return [f"{word} == {values[0]}"]
    if row["input_or_subject"].startswith("clean field "):
        word = row["input_or_subject"].replace("clean field ", "")
        return [f"HV_VMX_ENLIGHTENED_CLEAN_FIELD_{word} == {values[0]}"]
    result, names = [], 0
    for expected in WORKED.get(row["id"], []):
        if re.fullmatch(r"\w+", expected):
            result.append(f"{expected} == {values[names]}")
            names += 1
        else:
            result.append(expected)
    return result


def check_worked_values(checker):
    rows = checker.rows("worked_values.csv", "id")
    for row in rows:
        checker.cover(row, worked_assertions(row))
    for identifier in set(WORKED) - {row["id"] for row in rows}:
        checker.problem(f"worked_values.csv: no row {identifier}")


def compile_assertions(checker):
    lines = ["#include <hvtlfs/tlfs.h>"]
    lines += [f'_Static_assert({name} == {value}, "{name}");' for name, value in BEYOND.items()]
    for row, expression in checker.assertions:
        text = f"{row.key}: {expression}".replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'#line {row.line} "tests/tlfs/{row.file}"')
        lines.append(f'_Static_assert({expression}, "{text}");')
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    include = os.path.join(checker.source, "include")
    command = compiler + ["-std=c11", "-w", "-I", include, "-x", "c", "-fsyntax-only", "-"]
    if "clang" in subprocess.run(compiler + ["--version"], capture_output=True, text=True,
                                 check=False).stdout:
        command.insert(len(compiler), "-ferror-limit=0")
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True,
                          check=False)
    for line in done.stderr.splitlines():
        if "error:" in line:
            checker.problem(line.replace(checker.source.rstrip("/") + "/", ""))
    if done.returncode != 0 and "error:" not in done.stderr:
        checker.problem(f"{compiler[0]} failed: {done.stderr.strip()}")


def enumerators(header, tag):
    body = re.search(r"enum " + tag + r" \{(.*?)\n\};", header, re.S)
    body = re.sub(r"/\*.*?\*/", "", body[1], flags=re.S) if body else ""
    return re.findall(r"^\s*(\w+)", body, re.M)


def check_nothing_invented(checker):
    """The four great enumerations must have no name that the CSV files do not."""
    header = checker.read("include/hvtlfs/tlfs.h")
    registers = {row["field"] for row in checker.rows("structs.csv", "field")
                 if row["struct"] == "HV_REGISTER_NAME"}
    known = {
        "hv_x64_msr": {row["name"] for row in checker.rows("msr.csv", "name")},
        "hv_call_code": {name for row in checker.rows("hypercall.csv", "name")
                         for name in call_names(row)},
        "hv_status": {row["name"] for row in checker.rows("status.csv", "name")},
        "hv_register_name": registers | set(REGISTER_SPELLINGS.values()),
    }
    for tag, names in known.items():
        found = enumerators(header, tag)
        if not found:
            checker.problem(f"include/hvtlfs/tlfs.h: no enum {tag}")
        for name in found:
            if name not in names and name not in BEYOND:
                checker.problem(f"include/hvtlfs/tlfs.h: enum {tag}: {name} is in no CSV file")


def compare(checker, path, found, expected):
    """Same rows, same order; say which differ."""
    for row in expected:
        if row not in found:
            checker.problem(f"{path}: no row for {row}")
    for row in found:
        if row not in expected:
            checker.problem(f"{path}: {row} is in no CSV file")
        elif found.count(row) > 1:
            checker.problem(f"{path}: {row} appears twice")
    if sorted(found) == sorted(expected) and found != expected:
        wrong = next(a for a, b in zip(found, expected) if a != b)
        checker.problem(f"{path}: not sorted at {wrong}")
    checker.counts[path] = [len(found), 0]


def check_cpuid_table(checker):
    path = "src/cpuid_bits.def"
    row = r'^CPUID_BITS\((0x\w{8}), (E[A-D]X), (\d+), (\d+), (\w+),\s+"([^"]+)"\)$'
    found = [(leaf, register, int(lo), int(hi), name)
             for leaf, register, hi, lo, name, _ in re.findall(row, checker.read(path), re.M)]
    expected = []
    for csv_row in checker.rows("cpuid.csv", "leaf"):
        if "-" in csv_row["leaf"]:
            continue
        every = csv_row["register"] == "EAX-EDX"
        hi, lo = (31, 0) if every else bits(csv_row["bits"])
        name = "Reserved" if is_reserved(csv_row["name"]) else csv_row["name"]
        for register in REGISTERS if every else [csv_row["register"]]:
            expected.append((csv_row["leaf"], register, lo, hi, name))
    compare(checker, path, found, sorted(expected))
    for before, after in zip(found, found[1:]):
        if before[:2] == after[:2] and after[2] <= before[3]:
            checker.problem(f"{path}: {after} overlaps {before}")


def check_status_table(checker):
    path = "src/statuses.def"
    found = re.findall(r'^STATUS\((\w+),\s+"[^"]+"\)$', checker.read(path), re.M)
    numbers = {}
    for row in checker.rows("status.csv", "name"):
        if row["numeric"] and row["name"].startswith("HV_STATUS_"):
            numbers.setdefault(int(row["numeric"], 16), []).append(row["name"])
    expected = []
    for number, names in sorted(numbers.items()):
        if len(names) > 1 and number not in CURRENT_STATUS:
            checker.problem(f"status.csv: {number:#06x} has several names: {names}")
        expected.append(CURRENT_STATUS.get(number, names[0]))
    compare(checker, path, found, expected)


def check_register_table(checker):
    path = "src/registers.def"
    found = re.findall(r"^REGISTER\((\w+)\)$", checker.read(path), re.M)
    expected = sorted((int(row["offset"], 16), row["field"])
                      for row in checker.rows("structs.csv", "struct")
                      if row["struct"] == "HV_REGISTER_NAME")
    compare(checker, path, found, [name for _, name in expected])


def check_call_table(checker):
    """Rows may be REFUSED or anything else; the first argument is the call."""
    path = "src/hypercalls.def"
    found = re.findall(r"^\w+\((Hv\w+),", checker.read(path), re.M)
    expected = sorted((int(row["code"], 16), call_names(row)[0])
                      for row in checker.rows("hypercall.csv", "code") if call_names(row))
    compare(checker, path, found, [name for _, name in expected])


def main():
    if len(sys.argv) != 2:
        print("usage: check_tlfs.py SOURCE_DIR", file=sys.stderr)
        return 1
    checker = Checker(sys.argv[1])
    check_msrs(checker)
    check_calls(checker)
    check_statuses(checker)
    check_cpuid(checker)
    check_privileges(checker)
    check_hypercall_values(checker)
    check_structs(checker)
    check_worked_values(checker)
    compile_assertions(checker)
    check_nothing_invented(checker)
    check_cpuid_table(checker)
    check_status_table(checker)
    check_register_table(checker)
    check_call_table(checker)
    for number, (file, pattern, _) in enumerate(EXCUSES):
        if number not in checker.used_excuses:
            checker.problem(f"{file}: the excuse for {pattern} is no longer needed")
    for problem in checker.problems:
        print(problem)
    for file, (covered, excused) in checker.counts.items():
        print(f"{file}: {covered} rows checked" + (f", {excused} excused" if excused else ""))
    print(f"{len(checker.assertions)} assertions, {len(checker.problems)} problems")
    return 1 if checker.problems else 0


if __name__ == "__main__":
    sys.exit(main())
