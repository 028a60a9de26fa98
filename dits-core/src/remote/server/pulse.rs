//! Whether a TCP connection is still there.
//!
//! **For:** transfers over QUIC, which would notice a server that was killed only by their idle
//! timeout: the system closes a dead process's TCP connections at once, and says nothing over UDP.
//!
//! **May touch:** nothing but the connection that it is put around.
//!
//! **Must hold:** the pulse of a connection ends when whoever drives it lets go of it, for whatever
//! reason, and never before.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// A connection that others can watch.
pub struct Watched<S> {
    stream: S,
    /// Nothing is ever sent: that it is dropped is the news.
    _alive: watch::Sender<()>,
}

/// Whether one watched connection is still there.
#[derive(Clone)]
pub struct Pulse(watch::Receiver<()>);

impl<S> Watched<S> {
    /// Puts itself around a connection.
    pub fn new(stream: S) -> (Watched<S>, Pulse) {
        let (alive, pulse) = watch::channel(());
        (Watched { stream, _alive: alive }, Pulse(pulse))
    }
}

impl Pulse {
    /// Returns true once the connection is gone.
    pub fn has_ended(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Waits until the connection is gone.
    pub async fn ended(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }
}
