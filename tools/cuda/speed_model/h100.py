"""An H100 SXM as the predictions see it: rates of its units, and latencies. Every number has its source."""

from __future__ import annotations

import re

from .sass import Instruction

# NVIDIA, "H100 Tensor Core GPU" data sheet and Hopper architecture white paper: 132 multiprocessors, 80 GB of HBM3 at
# 3.35 TB/s, 4 schedulers a multiprocessor that issue an instruction of a warp each clock; 989.4 TFLOPS of dense
# bfloat16 at 1.83 GHz are 4096 operations a clock and multiprocessor, half of it for TF32, twice for int8.
MULTIPROCESSORS = 132
MEMORY = 3.35e12
ISSUE = 4
TENSOR = {"16 bit": 4096, "tf32": 2048, "int8": 8192}
FLOAT32 = 2 * 128  # operations a clock and multiprocessor: 128 multiply-adds
# Under load the clock is not the boost clock: 1.755 GHz is what nvidia-smi shows for tensor-heavy work at 700 W.
CLOCK = 1.755e9

# Luo et al., "Dissecting the NVIDIA Hopper Architecture through Microbenchmarking" (arXiv 2501.12084), and the first
# part, arXiv 2402.13499: mma.sync reaches 62 % of the peak of wgmma; latencies of shared memory, the L2 cache and
# memory on an idle device are 29, 263 and 479 clocks. Loaded, memory takes longer: 700 is an assumption.
MMA_SYNC = 0.62
LATENCY = {"shared": 30, "L2": 265, "memory": 700, "mma": 33, "other": 25}

# What units sustain of their peak when nothing else is in the way: STREAM-like kernels read 92 to 94 % of 3.35 TB/s;
# the others are assumptions.
SUSTAINED = {
    "memory": 0.92,
    "L2": 1.0,
    "issue": 0.9,
    "fma": 0.95,
    "alu": 0.95,
    "shared": 0.9,
    "tensor": 1.0,
    "slow": 0.95,
}
L2 = 5.5e12  # bytes a second; Chips and Cheese, "Nvidia's H100"
L2_BYTES = 50e6 * 0.6  # what is reread soon after it was written comes from there, if it is not more than this

# From one kernel of a stream to the next, seconds: an assumption from published measurements of 1.5 to 2.5 us.
LAUNCH = 2.0e-6

# Clocks that a warp's instruction takes of its unit on the whole multiprocessor: CUDA C++ Programming Guide,
# "Throughput of Native Arithmetic Instructions", column 9.0 (128 float32, 64 integer operations a clock; 16 of the
# special unit). IMAD.WIDE and IMAD.HI are counted twice.
_UNITS = (
    (r"^(FFMA|FADD|FMUL|HADD2|HFMA2)", "fma", 0.25),
    (r"^IMAD\.(WIDE|HI)", "imad", 1.0),
    (r"^IMAD", "imad", 0.5),
    (r"^(DADD|DMUL|DFMA|DSETP)", "slow", 0.5),
    (r"^(MUFU|F2I|I2F|F2F|POPC|FLO|BREV)(\.|$)", "slow", 2.0),
    (r"^(HMMA|IMMA)", "tensor", 1 / MMA_SYNC),
    (r"^(LDS|STS)(\.U8|\.U16)?$", "shared", 1.0),
    (r"^(LDS|STS)\.64$", "shared", 2.0),
    (r"^(LDS|STS)\.128$", "shared", 4.0),
    (r"^LDSM", "shared", 4.0),
    (r"^LDGSTS.*128", "shared", 4.0),
    (r"^LDGSTS", "shared", 1.0),
    (r"^(LDG|STG|LD|ST)\.E.*128", "shared", 4.0),
    (r"^(LDG|STG|LD|ST)\.E.*64", "shared", 2.0),
    (r"^(LDG|STG|LD|ST)\.E", "shared", 1.0),
    (r"^(ATOMS|ATOMG|REDG)", "shared", 2.0),
    (r"^SHFL", "shared", 1.0),
    (
        r"^(ISETP|IADD3|LOP3|SHF|LEA|VIADD|VIMNMX|VIADDMNMX|SEL|FSEL|FSETP|PRMT|MOV|CS2R|P2R|R2P|FMNMX|I2FP|F2FP|PLOP3|IABS"
        r"|VOTE|BMSK|SGXT)",
        "alu",
        0.5,
    ),
)


def unit(instruction: Instruction) -> tuple[str, float]:
    """Which unit runs it, and for how many clocks; ("", 0) where only issuing counts (branches, the uniform units)."""
    for pattern, name, clocks in _UNITS:
        if re.match(pattern, instruction.opcode):
            return name, clocks
    return "", 0.0


def latency(instruction: Instruction, memory: str) -> int:
    """Clocks until a result that others wait for by a barrier is there. ``memory``: where global loads come from."""
    opcode = instruction.opcode
    if re.match(r"^(LDG|LD\.|LDGSTS|ATOMG)", opcode):
        return LATENCY[memory]
    if re.match(r"^(LDS|ATOMS|SHFL|STS)", opcode):
        return LATENCY["shared"]
    return LATENCY["mma"] if re.match(r"^(HMMA|IMMA)", opcode) else LATENCY["other"]
