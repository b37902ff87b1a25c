//! A context of llama.cpp's together with what feeds it weights, where these stream.

use super::hooked::{Bits, Feed};
use super::pass_rows::PassRows;
use super::{OracleError, WidthClass};
use crate::experts::{ExpertCounts, ExpertGuide};
use crate::ggml::hook::Hook;
use crate::ggml::llama::{BatchToken, Hooks, LlamaError, LlamaRun, RunOptions};
use crate::ggml::model::Model;
use crate::river::River;
use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// See the module's text.
pub(super) struct FedRun {
    pub run: LlamaRun<Hooks>,
    feed: Option<Rc<RefCell<Feed>>>,
    widest: usize,
}

impl FedRun {
    /// Over a model that is in memory.
    pub(super) fn resident(model: &Arc<Model>, options: RunOptions) -> Result<Self, LlamaError> {
        Ok(Self {
            run: LlamaRun::new(Arc::clone(model), options)?,
            feed: None,
            widest: WidthClass::BATCH.max,
        })
    }

    /// Over the weights that `feed` places.
    pub(super) fn hooked(feed: Feed, options: RunOptions) -> Result<Self, LlamaError> {
        let (model, widest) = (Rc::clone(feed.model()), feed.widest());
        let feed = Rc::new(RefCell::new(feed));
        let hook: Rc<RefCell<dyn Hook>> = Rc::<RefCell<Feed>>::clone(&feed);
        Ok(Self {
            run: LlamaRun::hooked(&model, options, hook)?,
            feed: Some(feed),
            widest,
        })
    }

    /// What reads the weights, if they stream.
    pub(super) fn river(&self) -> Option<Ref<'_, River>> {
        let feed = self.feed.as_ref()?;
        Some(Ref::map(feed.borrow(), Feed::river))
    }

    /// Most different tokens that it decodes at once.
    pub(super) fn widest(&self) -> usize {
        self.widest
    }

    /// Whether it is a mixture over weights that are placed.
    pub(super) fn is_mixture(&self) -> bool {
        let feed = self.feed.as_ref();
        feed.is_some_and(|feed| feed.borrow().is_mixture())
    }

    /// What has been asked for of experts, in a mixture whose experts come and go.
    pub(super) fn experts(&self) -> Option<ExpertCounts> {
        self.feed.as_ref()?.borrow().experts()
    }

    /// Has others look after the experts of a mixture. To be called before the first decode.
    pub(super) fn guide(&self, guide: ExpertGuide) {
        if let Some(feed) = &self.feed {
            feed.borrow_mut().guide(guide);
        }
    }

    /// See [`Oracle::use_idle_time`](super::Oracle::use_idle_time).
    pub(super) fn use_idle_time(&self) -> Result<bool, OracleError> {
        let feed = self.feed.as_ref();
        feed.map_or(Ok(false), |feed| feed.borrow_mut().use_idle_time())
    }

    /// Decodes, in a mixture with these `bits`. Rows after the first `tokens` are padding.
    /// Where that fails, what the sequences of `batch` hold from its tokens on is undefined.
    pub(super) fn decode(
        &mut self,
        batch: &[BatchToken],
        tokens: usize,
        bits: Bits,
    ) -> Result<(), OracleError> {
        if let Some(feed) = &self.feed {
            feed.borrow_mut().begin(PassRows::of(batch, tokens), bits)?;
        }
        let decoded = self.run.decode(batch).map_err(OracleError::from);
        let fed = match &self.feed {
            Some(feed) => feed.borrow_mut().end(decoded.is_ok()),
            None => Ok(()),
        };
        if let (Err(OracleError::GivenUp), Some(river)) = (&decoded, self.river()) {
            river.rewind();
        }
        // A decode that had no weights fails, or its result is of no use.
        fed.and(decoded)
    }
}
