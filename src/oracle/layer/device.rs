//! What an oracle has besides where it computes on a device.

use super::staging::LogitStaging;
use crate::ggml::Device;
use crate::river::Window;

/// Where weights come through, and where logits land.
pub(super) struct DeviceSide {
    pub device: Device,
    pub window: Window,
    pub staging: LogitStaging,
}

/// The device's kernels take this much for themselves while they compute, besides scratch
/// memory: quantised activations of the widest product, and partial sums.
pub(super) fn kernel_bytes(widest: usize, tokens: usize) -> usize {
    2 * widest * tokens + (64 << 20)
}
