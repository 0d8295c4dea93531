//! One connection: its socket with time limits, and what the server knows of it while it is open.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    runtime::Handle,
    time::{Instant, Sleep, sleep, timeout},
};

use super::connections::Slot;

/// Bytes that a client that is slow to read must take within one write timeout.
const LEAST_TAKEN: usize = 8 * 1024;
/// How long, and for how many bytes, a client that still sends is listened to after its last
/// answer: were the socket closed on it, its system would throw the answer away.
const LINGER: (Duration, u64) = (Duration::from_secs(2), 4 * 1024 * 1024);
/// What a client is told that has begun a request and does not get on with it.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the head of a request, from its first byte or, on a new connection, from the start.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
    /// For the next bytes of an answer.
    pub(super) write: Duration,
}

/// What a connection does now. The socket, the service and the server look at it and change it.
#[derive(Debug)]
pub(super) struct Phase(AtomicU64);

/// The head of a request is read.
const HEAD: u64 = 0;
/// A request is worked on, or its answer is sent.
const SERVING: u64 = 1;
/// The server has closed it to make room.
const CLOSED: u64 = 2;
/// An answer is whole, and its end may still have to be sent.
const ANSWERED: u64 = 3;
/// It is open, and nothing has come.
const SILENT: u64 = 4;
/// It is idle from this number on: a later one has been idle for a shorter time.
static IDLE: AtomicU64 = AtomicU64::new(5);

impl Phase {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(SILENT))
    }

    /// Whether nothing has come on it.
    pub(super) fn is_silent(&self) -> bool {
        self.0.load(Ordering::Acquire) == SILENT
    }

    /// Since when it is idle, if it is: a smaller number is longer ago.
    pub(super) fn idle_since(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|phase| *phase > SILENT)
    }

    /// Closes it if it is silent or idle: no request has come meanwhile.
    pub(super) fn close_if_idle(&self) -> bool {
        let phase = self.0.load(Ordering::Acquire);
        phase >= SILENT && self.leave(phase, CLOSED)
    }

    /// Bytes have come. False: the connection was closed before.
    fn receive(&self) -> bool {
        match self.0.load(Ordering::Acquire) {
            HEAD | SERVING => true,
            CLOSED => false,
            between => self.leave(between, HEAD),
        }
    }

    /// The head of a request is complete. False: the connection was closed before.
    pub(super) fn serve(&self) -> bool {
        match self.0.load(Ordering::Acquire) {
            CLOSED => false,
            phase => self.leave(phase, SERVING),
        }
    }

    /// An answer is sent. False: it was not, or another request has come meanwhile.
    fn rest(&self) -> bool {
        let is_answered = self.0.load(Ordering::Acquire) == ANSWERED;
        is_answered && self.leave(ANSWERED, IDLE.fetch_add(1, Ordering::Relaxed))
    }

    fn leave(&self, from: u64, to: u64) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// An answer's body; the connection is idle once it is gone and sent.
#[derive(Debug)]
pub(super) struct LastWord {
    body: Body,
    phase: Arc<Phase>,
}

impl LastWord {
    pub(super) const fn new(body: Body, phase: Arc<Phase>) -> Self {
        Self { body, phase }
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        self.phase.0.store(ANSWERED, Ordering::Release);
    }
}

impl HttpBody for LastWord {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a socket waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wait {
    Head,
    Request,
}

/// A client that does not take its answer.
#[derive(Debug)]
struct Stalled {
    timer: Pin<Box<Sleep>>,
    /// Bytes that it must take before the timer runs out.
    left: usize,
}

/// A socket that cuts off clients that are too slow, whether they send or receive. Requests' bodies
/// have the deadline of their requests.
///
/// hyper's own timer counts the time between two requests as a part of the second one's head; this
/// one tells them apart. It is set anew only where a client keeps it waiting, because setting it
/// costs more than all else here.
#[derive(Debug)]
pub(super) struct Socket<S: Stream> {
    /// None once it was dropped.
    stream: Option<S>,
    phase: Arc<Phase>,
    patience: Patience,
    /// What is waited for, and until when.
    wait: Option<(Wait, Instant)>,
    /// Runs out at that moment or before.
    timer: Pin<Box<Sleep>>,
    stalled: Option<Stalled>,
    /// The client has sent something of which we may not have read all.
    may_send: bool,
    slot: Option<Slot>,
}

/// What a connection goes over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

impl<S: Stream> Socket<S> {
    pub(super) fn new(stream: S, phase: Arc<Phase>, patience: Patience, slot: Slot) -> Self {
        let timer = Box::pin(sleep(patience.head));
        Self { stream: Some(stream), phase, patience, wait: None, timer, stalled: None, may_send: false, slot: Some(slot) }
    }

    fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(self.stream.as_mut().expect("it is there until it is dropped"))
    }

    /// Nothing has come: for what is waited, once that has lasted too long.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<Wait> {
        let (wait, patience) = match self.phase.0.load(Ordering::Acquire) {
            HEAD | SILENT => (Wait::Head, self.patience.head),
            SERVING | ANSWERED => {
                self.wait = None;
                return Poll::Pending;
            }
            _ => {
                self.may_send = false;
                (Wait::Request, self.patience.idle)
            }
        };
        let deadline = match self.wait {
            Some((known, deadline)) if known == wait => deadline,
            _ => {
                let deadline = Instant::now() + patience;
                self.wait = Some((wait, deadline));
                if self.timer.is_elapsed() || self.timer.deadline() > deadline {
                    self.timer.as_mut().reset(deadline);
                }
                deadline
            }
        };
        ready!(self.timer.as_mut().poll(context));
        if Instant::now() < deadline {
            self.timer.as_mut().reset(deadline);
            ready!(self.timer.as_mut().poll(context));
        }
        Poll::Ready(wait)
    }

    /// Holds a client to the pace at which it must take its answer.
    fn pace(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => {
                if let Some(stalled) = &mut self.stalled {
                    stalled.left = stalled.left.saturating_sub(*bytes);
                    if stalled.left == 0 {
                        self.stalled = None;
                    }
                }
                written
            }
            Poll::Ready(Err(_)) => {
                self.may_send = false;
                written
            }
            Poll::Pending => {
                let patience = self.patience.write;
                let fresh = || Stalled { timer: Box::pin(sleep(patience)), left: LEAST_TAKEN };
                ready!(self.stalled.get_or_insert_with(fresh).timer.as_mut().poll(context));
                self.may_send = false;
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take its answer")))
            }
        }
    }
}

impl<S: Stream> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match self.stream().poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                let is_end = buffer.filled().len() == before;
                self.may_send = !is_end;
                if !is_end && !self.phase.receive() {
                    buffer.set_filled(before);
                }
                if let Some((Wait::Request, _)) = self.wait {
                    self.wait = None;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                self.may_send = false;
                Poll::Ready(Err(error))
            }
            Poll::Pending => match ready!(self.poll_patience(context)) {
                // As if the client had closed it.
                Wait::Request => Poll::Ready(Ok(())),
                Wait::Head => {
                    if self.may_send && self.stalled.is_none() {
                        // No answer is being sent that this could break into.
                        let _ = self.stream().poll_write(context, TOO_SLOW);
                    }
                    self.may_send = false;
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not send its request")))
                }
            },
        }
    }
}

impl<S: Stream> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(context, bytes);
        self.pace(context, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(context, bytes);
        self.pace(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It is called once all was written.
        self.stalled = None;
        ready!(self.stream().poll_flush(context))?;
        if self.phase.rest() {
            // hyper may read no more until it is woken: so the wait begins here, and does not end here.
            let _ = self.poll_patience(context);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}

impl<S: Stream> Drop for Socket<S> {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take().filter(|_| self.may_send) else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(linger(stream, self.slot.take()));
        }
    }
}

/// Listens to a client that still sends until it has had its last answer.
async fn linger<S: Stream>(mut stream: S, _slot: Option<Slot>) {
    let (patience, most) = LINGER;
    let work = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(most), &mut tokio::io::sink()).await
    };
    // Whatever comes of it, nobody is left to be told.
    let _ = timeout(patience, work).await;
}
