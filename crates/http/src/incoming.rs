//! The body of a request, which tells its connection whether all of it was read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::wire::Exchange;

/// hyper's body of a request. While its end was not seen, the connection knows that the client may still be sending.
#[derive(Debug)]
pub(crate) struct Incoming {
    body: hyper::body::Incoming,
    exchange: Arc<Exchange>,
}

impl Incoming {
    /// The body of the request that the exchange has begun with.
    pub(crate) fn new(body: hyper::body::Incoming, exchange: &Arc<Exchange>) -> Incoming {
        exchange.set_unread(!body.is_end_stream());
        Incoming { body, exchange: Arc::clone(exchange) }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.exchange.set_unread(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
