"""What a multiprocessor of each architecture holds: how many blocks of a kernel fit.

Source: CUDA C++ Programming Guide 13.0, "Compute Capabilities", table "Technical Specifications per Compute
Capability" for
8.0, 9.0 and 10.0, and the sizes in which resources are given out as in CUDA's occupancy calculator (cuda_occupancy.h):
registers by 256 a warp, shared memory by 128 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Limits of a multiprocessor.

    Attributes:
        reserved: bytes of shared memory that the system takes from each block.
    """

    name: str
    threads: int
    blocks: int
    shared: int
    shared_of_block: int
    registers: int = 65536
    registers_of_thread: int = 255
    reserved: int = 1024

    def blocks_at_once(self, threads: int, registers: int, shared: int) -> int:
        """How many blocks run side by side on a multiprocessor; 0: the kernel cannot be launched.

        Args:
            threads: of a block.
            registers: of a thread.
            shared: bytes of shared memory of a block that it asks for, without the reserved ones.
        """
        if threads > 1024 or registers > self.registers_of_thread or shared > self.shared_of_block:
            return 0
        warps = -(-threads // 32)
        registers_of_warp = -(-registers * 32 // 256) * 256
        # Registers belong to the four quarters of a multiprocessor, each of which takes whole warps.
        warps_of_quarter = self.registers // 4 // max(registers_of_warp, 256)
        shared_of_block = -(-(shared + self.reserved) // 128) * 128
        return min(
            self.blocks, self.threads // (warps * 32), 4 * warps_of_quarter // warps, self.shared // shared_of_block
        )


ARCHITECTURES = {
    "sm_80": Architecture("sm_80", 2048, 32, 164 * 1024, 163 * 1024),
    "sm_90a": Architecture("sm_90a", 2048, 32, 228 * 1024, 227 * 1024),
    "sm_100": Architecture("sm_100", 2048, 32, 228 * 1024, 227 * 1024),
}
