"""Arm and RISC-V conversions in an emulator: a loop of machine code around one instruction, run by Unicorn.

Unicorn is QEMU's processor emulation as a library; its 2.1 has neither BFCVT nor RISC-V's half precision. Encodings:
Arm Architecture Reference Manual DDI 0487, C4.1; The RISC-V Instruction Set Manual, volume I, chapter 34.
"""

from __future__ import annotations

import struct

import numpy as np

from peers import Peer

CODE, IN, OUT = 0x10000, 0x10000000, 0x40000000
PAGE = 0x1000


def run(machine, words, data, size, registers):
    """Run instructions from the first to the last, and return what they wrote to OUT."""
    code = b"".join(struct.pack("<I", word) for word in words)
    for place, length in ((CODE, PAGE), (IN, len(data)), (OUT, size)):
        machine.mem_map(place, -(-max(length, 1) // PAGE) * PAGE)
    machine.mem_write(CODE, code)
    machine.mem_write(IN, data)
    for register, value in registers.items():
        machine.reg_write(register, value)
    machine.emu_start(CODE, CODE + len(code))
    return bytes(machine.mem_read(OUT, size))


class Arm(Peer):
    """A64; a number travels in s0, d0 or h0, an integer in w3 or x3."""

    module = "unicorn"
    kinds = {"float32": 0, "float64": 1, "float16": 3}  # noqa: RUF012 (ftype)
    control = {"nearest_even": 0, "toward_positive": 1, "toward_negative": 2, "toward_zero": 3}  # noqa: RUF012 (FPCR.RMode)
    # rmode and opcode of FCVTNS, FCVTPS, FCVTMS, FCVTZS, FCVTAS.
    directions = {  # noqa: RUF012
        "nearest_even": 0b00000,
        "toward_positive": 0b01000,
        "toward_negative": 0b10000,
        "toward_zero": 0b11000,
        "nearest_away": 0b00100,
    }

    def instruction(self, source, target, rules):
        """Encode the conversion; None where the emulator has none."""
        start, end = self.kinds.get(source.name), self.kinds.get(target.name)
        if start is not None and end is not None:
            if rules.get("rounding") == "to_odd":
                return 0x7E616800 if (source.name, target.name) == ("float64", "float32") else None  # FCVTXN
            return 0x1E224000 | start << 22 | end << 15  # FCVT
        if start is not None and target.kind == "integer":
            wide, whole = target.bits == 64, self.directions[rules["rounding"]]
            return 0x1E200003 | wide << 31 | start << 22 | (whole | (not target.signed)) << 16
        if end is not None and source.kind == "integer":
            return 0x1E220060 | (source.bits == 64) << 31 | end << 22 | (not source.signed) << 16  # SCVTF, UCVTF
        return None

    def asks(self, source, target, rules):
        """Only what there is an instruction for; directions of FCVT come from FPCR."""
        return self.instruction(source, target, rules) is not None

    def move(self, fmt, register, load):
        """Encode a load or store of a number, and the step to the next."""
        real, size = fmt.kind == "float", fmt.code_dtype.itemsize
        word = 0x38000400 | size.bit_length() - 1 << 30 | real << 26 | load << 22 | size << 12
        return word | register << 5 | (0 if real else 3)

    def cast(self, source, target, codes, rules):
        """Convert in a loop over memory."""
        import unicorn
        from unicorn import arm64_const as arm

        control = self.control.get(rules.get("rounding"), 0) << 22
        control |= (rules.get("nan") == "canonical") << 25 | (rules["subnormals"] == "flush_input") << 24
        machine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        machine.ctl_set_cpu_model(arm.UC_CPU_ARM64_MAX)
        registers = {
            arm.UC_ARM64_REG_CPACR_EL1: 3 << 20,
            arm.UC_ARM64_REG_FPCR: control,
            arm.UC_ARM64_REG_X0: IN,
            arm.UC_ARM64_REG_X1: OUT,
            arm.UC_ARM64_REG_X2: codes.size,
        }
        words = [self.move(source, 0, True), self.instruction(source, target, rules), self.move(target, 1, False)]
        words += [0xF1000442, 0x54FFFF81]  # subs x2, x2, 1; b.ne back to the first
        size = codes.size * target.code_dtype.itemsize
        return np.frombuffer(run(machine, words, codes.tobytes(), size, registers), target.code_dtype)


class RISCV(Peer):
    """RV64GC; a number travels in fa0, an integer in a3; the direction is in the instruction."""

    module = "unicorn"
    directions = {  # noqa: RUF012
        "nearest_even": 0,
        "toward_zero": 1,
        "toward_negative": 2,
        "toward_positive": 3,
        "nearest_away": 4,
    }
    kinds = {"float32": 0, "float64": 1}  # noqa: RUF012 (fmt)

    def instruction(self, source, target, rules):
        """Encode the conversion; None where the emulator has none."""
        start, end = self.kinds.get(source.name), self.kinds.get(target.name)
        direction = self.directions.get(rules.get("rounding", "nearest_even"))
        if direction is None or (start is None and end is None):
            return None
        if start is not None and end is not None:
            function, which, rd, rs = 0b0100000 | end, start, 10, 10
        elif start is not None and target.kind == "integer":
            function, which, rd, rs = 0b1100000 | start, self.integer(target), 13, 10
        elif end is not None and source.kind == "integer":
            function, which, rd, rs = 0b1101000 | end, self.integer(source), 10, 13
        else:
            return None
        return function << 25 | which << 20 | rs << 15 | direction << 12 | rd << 7 | 0x53

    @staticmethod
    def integer(fmt):
        """Encode W, WU, L, LU."""
        return 2 * (fmt.bits == 64) + (not fmt.signed)

    def asks(self, source, target, rules):
        """Only what there is an instruction for."""
        return self.instruction(source, target, rules) is not None

    def cast(self, source, target, codes, rules):
        """Convert in a loop over memory."""
        import unicorn
        from unicorn import riscv_const as riscv

        def width(fmt):
            return fmt.code_dtype.itemsize.bit_length() - 1

        def add(register, step):
            return (step & 0xFFF) << 20 | register << 15 | register << 7 | 0x13

        real = source.kind == "float"
        load = 10 << 15 | width(source) << 12 | (10 << 7 | 0x07 if real else 13 << 7 | 0x03)
        real = target.kind == "float"
        store = 11 << 15 | width(target) << 12 | (10 << 20 | 0x27 if real else 13 << 20 | 0x23)
        words = [load, self.instruction(source, target, rules), store]
        words += [add(10, source.code_dtype.itemsize), add(11, target.code_dtype.itemsize), add(12, -1)]
        words += [0xFE0614E3]  # bne a2, zero, 24 bytes back
        machine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
        registers = {
            riscv.UC_RISCV_REG_MSTATUS: 1 << 13,  # FS: the floating-point unit is on
            riscv.UC_RISCV_REG_A0: IN,
            riscv.UC_RISCV_REG_A1: OUT,
            riscv.UC_RISCV_REG_A2: codes.size,
        }
        size = codes.size * target.code_dtype.itemsize
        return np.frombuffer(run(machine, words, codes.tobytes(), size, registers), target.code_dtype)
