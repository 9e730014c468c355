//! `/metrics`: written once for all who have asked by then.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use hyper::StatusCode;
use tokio::{sync::oneshot, task};

use super::{
    answer::{Answer, Refusal, content_of},
    body::Body,
    budget::{Budget, Full, exact},
};
use crate::metrics::Metrics;

/// The format's own name.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Those who have asked and are not answered yet. Who asks while the metrics are written is
/// answered by the next writing, so that nobody is told what was before; and a thousand scrapers
/// that come at once cost the work of a few.
#[derive(Clone, Default)]
pub(super) struct Scrape(Arc<Mutex<Vec<Asker>>>);

type Asker = oneshot::Sender<Result<Bytes, Full>>;

impl Scrape {
    pub(super) async fn answer(
        &self,
        metrics: &Metrics,
        budget: &Budget,
    ) -> Result<Answer, Refusal> {
        let (asker, answered) = oneshot::channel();
        let is_first = {
            let mut askers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            askers.push(asker);
            askers.len() == 1
        };
        if is_first {
            // A task of its own: the first may leave before the others have their answer.
            tokio::spawn(self.clone().write(metrics.clone(), budget.clone()));
        }
        let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "not written");
        Ok(content_of(Body::counted(answered.await.map_err(failed)??), PROMETHEUS))
    }

    async fn write(self, metrics: Metrics, budget: Budget) {
        // Those who came at the same time get to ask.
        task::yield_now().await;
        let askers = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // One text for all of them, which is counted once.
        let text = budget.count(exact(metrics.render().into_bytes()));
        for asker in askers {
            // Whoever has left needs no answer.
            let _ = asker.send(text.clone());
        }
    }
}
