//! Who looks after a mixture's experts, besides their store.

use super::eviction::Eviction;
use super::recorder::Recorder;
use std::cell::RefCell;
use std::rc::Rc;

/// Handed to the oracle that is opened.
pub struct ExpertGuide {
    /// Says which expert leaves.
    pub eviction: Box<dyn Eviction>,
    /// Writes down which are used, where that is wanted.
    pub recorder: Option<Rc<RefCell<Recorder>>>,
}
