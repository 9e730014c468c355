//! `GET /metrics`: rendered once for all requests that wait.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use hyper::StatusCode;
use tokio::{sync::oneshot, task};

use crate::{
    admin::{
        body::ResponseBody,
        budget::{BudgetExhausted, MemoryBudget, shrunk},
        response::{ErrorResponse, HttpResponse, with_body},
    },
    metrics::Metrics,
};

/// The media type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The requests that wait for the metrics. A request that arrives during a rendering gets the next
/// one, so no response is older than its request, and a thousand scrapers at once cost only a few
/// renderings.
#[derive(Clone, Default)]
pub(in crate::admin) struct MetricsScrape(Arc<Mutex<Vec<PendingScrape>>>);

type PendingScrape = oneshot::Sender<Result<Bytes, BudgetExhausted>>;

impl MetricsScrape {
    pub(in crate::admin) async fn response(
        &self,
        metrics: &Metrics,
        budget: &MemoryBudget,
    ) -> Result<HttpResponse, ErrorResponse> {
        let (waiter, rendered) = oneshot::channel();
        let is_first = {
            let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiters.push(waiter);
            waiters.len() == 1
        };
        if is_first {
            // In a separate task, because the first client may disconnect before the others have
            // their response.
            tokio::spawn(self.clone().render(metrics.clone(), budget.clone()));
        }
        let failed =
            |_| ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot render the metrics");
        Ok(with_body(ResponseBody::counted(rendered.await.map_err(failed)??), PROMETHEUS))
    }

    async fn render(self, metrics: Metrics, budget: MemoryBudget) {
        // Requests that arrived at the same time join the list first.
        task::yield_now().await;
        let waiters = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // All share one text, which is counted once.
        let text = budget.count(shrunk(metrics.render().into_bytes()));
        for waiter in waiters {
            // Fails if the client has disconnected.
            let _ = waiter.send(text.clone());
        }
    }
}
