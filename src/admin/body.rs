//! The body of a response: whole, or produced in chunks as it is read.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::{
    budget::{BudgetExhausted, MemoryBudget},
    connections::OperatorRequest,
};

pub(super) struct ResponseBody {
    content: Content,
    /// Its connection counts as busy until the whole body is written.
    request: Option<OperatorRequest>,
}

enum Content {
    /// Empty once it is written.
    Whole {
        bytes: Bytes,
        /// Whether its memory is already counted, or static.
        is_counted: bool,
    },
    Chunked(Option<mpsc::Receiver<ResponseChunk>>),
}

/// A piece of a body.
pub(super) struct ResponseChunk {
    pub(super) bytes: Bytes,
    pub(super) is_last: bool,
}

/// The producer stopped before the last chunk. The connection closes, so that the client notices.
#[derive(Debug, thiserror::Error)]
#[error("the rest of the response could not be produced")]
pub(super) struct Truncated;

impl ResponseBody {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self::of(Content::Whole { bytes: bytes.into(), is_counted: false })
    }

    /// A body of static bytes, or of bytes that are already counted.
    pub(super) fn counted(bytes: impl Into<Bytes>) -> Self {
        Self::of(Content::Whole { bytes: bytes.into(), is_counted: true })
    }

    /// A body whose chunks are sent one at a time, each once the previous one is taken.
    pub(super) fn chunked() -> (mpsc::Sender<ResponseChunk>, Self) {
        let (producer, chunks) = mpsc::channel(1);
        (producer, Self::of(Content::Chunked(Some(chunks))))
    }

    fn of(content: Content) -> Self {
        Self { content, request: None }
    }

    /// Counts the body's memory, unless that has been done.
    pub(super) fn count(&mut self, budget: &MemoryBudget) -> Result<(), BudgetExhausted> {
        if let Content::Whole { bytes, is_counted: is_counted @ false } = &mut self.content {
            *bytes = budget.count(bytes.clone())?;
            *is_counted = true;
        }
        Ok(())
    }

    /// Ends `request` once the body is written.
    pub(super) fn answers(&mut self, request: OperatorRequest) {
        self.request = Some(request);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Truncated;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        match &mut self.content {
            Content::Whole { bytes, .. } => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Content::Chunked(chunks) => {
                let Some(receiver) = chunks else { return Poll::Ready(None) };
                let chunk = ready!(receiver.poll_recv(cx));
                if chunk.as_ref().is_none_or(|chunk| chunk.is_last) {
                    *chunks = None;
                }
                Poll::Ready(Some(chunk.map(|chunk| Frame::data(chunk.bytes)).ok_or(Truncated)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole { bytes, .. } => bytes.is_empty(),
            Content::Chunked(chunks) => chunks.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Content::Chunked(_) => SizeHint::default(),
        }
    }
}
