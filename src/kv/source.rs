//! Where pages get memory: the host's, or that of a device whose driver maps it by hand.

use super::pool::{GRANULE_BYTES, PageSource, SourceError};
use crate::cuda::VirtualRange;
use crate::io::Arena;
use std::rc::Rc;
use std::sync::Arc;

/// The host's pages are of the same size.
const _: () = assert!(Arena::ALIGNMENT == GRANULE_BYTES);

/// The host's, taken as it is first written.
#[derive(Debug)]
pub(super) struct HostPages(pub Arc<Arena>);

impl PageSource for HostPages {
    fn commit(&mut self, granules: &[usize]) -> Result<(), SourceError> {
        for (done, &granule) in granules.iter().enumerate() {
            if let Err(error) = self.0.commit(granule) {
                self.decommit(&granules[..done]);
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn decommit(&mut self, granules: &[usize]) {
        for &granule in granules {
            self.0.decommit(granule);
        }
    }
}

/// That of a device, taken when it is committed.
#[derive(Debug)]
pub(super) struct DevicePages(pub Rc<VirtualRange>);

impl PageSource for DevicePages {
    fn commit(&mut self, granules: &[usize]) -> Result<(), SourceError> {
        Ok(self.0.commit(granules)?)
    }

    fn decommit(&mut self, granules: &[usize]) {
        self.0.decommit(granules);
    }
}
