//! The body of an answer: whole, or made as it is read.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::{
    budget::{Budget, Full},
    places::Request,
};

pub(super) struct Body {
    content: Content,
    /// Until all is written, its connection waits for an answer.
    request: Option<Request>,
}

enum Content {
    /// Empty once it is written.
    Whole {
        bytes: Bytes,
        is_counted: bool,
    },
    Parts(Option<mpsc::Receiver<Part>>),
}

/// A part of a body.
pub(super) struct Part {
    pub(super) bytes: Bytes,
    pub(super) is_last: bool,
}

/// The maker of the parts has given up; the reader has to see that the answer is not whole.
#[derive(Debug, thiserror::Error)]
#[error("the rest of the answer could not be made")]
pub(super) struct BrokenOff;

impl Body {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self::of(Content::Whole { bytes: bytes.into(), is_counted: false })
    }

    /// Bytes that take no memory of this answer's own, or have been counted.
    pub(super) fn counted(bytes: impl Into<Bytes>) -> Self {
        Self::of(Content::Whole { bytes: bytes.into(), is_counted: true })
    }

    /// Parts, which their maker sends when the one before has been taken.
    pub(super) fn parts() -> (mpsc::Sender<Part>, Self) {
        let (maker, parts) = mpsc::channel(1);
        (maker, Self::of(Content::Parts(Some(parts))))
    }

    fn of(content: Content) -> Self {
        Self { content, request: None }
    }

    /// Counts its memory, unless that has been done.
    pub(super) fn count(&mut self, budget: &Budget) -> Result<(), Full> {
        if let Content::Whole { bytes, is_counted: is_counted @ false } = &mut self.content {
            *bytes = budget.count(bytes.clone())?;
            *is_counted = true;
        }
        Ok(())
    }

    pub(super) fn answers(&mut self, request: Request) {
        self.request = Some(request);
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.content {
            Content::Whole { bytes, .. } => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Content::Parts(parts) => {
                let Some(receiver) = parts else { return Poll::Ready(None) };
                let part = ready!(receiver.poll_recv(cx));
                if part.as_ref().is_none_or(|part| part.is_last) {
                    *parts = None;
                }
                Poll::Ready(Some(part.map(|part| Frame::data(part.bytes)).ok_or(BrokenOff)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole { bytes, .. } => bytes.is_empty(),
            Content::Parts(parts) => parts.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Content::Parts(_) => SizeHint::default(),
        }
    }
}
