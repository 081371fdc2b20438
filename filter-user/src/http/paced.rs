//! A connection whose peer must take each answer within a time: hyper limits how long a request may take to come, not how
//! long an answer may take to go.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The connection.
pub(super) struct Paced<S> {
    stream: S,
    limit: Duration,
    /// Runs from the first byte of an answer that could not be sent at once, until all of it is on its way.
    left: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// Gives the peer of `stream` this long to take an answer.
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, left: None }
    }

    /// Lets `written` wait no longer than what is left of the time.
    fn hold<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let limit = self.limit;
        let left = self.left.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(left.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.hold(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.hold(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes once all of an answer is written.
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.left = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn a_peer_that_takes_nothing_loses_the_connection() {
        run(async {
            let (near, _far) = duplex(10);
            let error = Paced::new(near, LIMIT).write_all(&[0; 100]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn a_peer_that_takes_a_byte_now_and_then_wins_no_time() {
        run(async {
            let (near, mut far) = duplex(10);
            let slow = tokio::spawn(async move {
                while far.read_u8().await.is_ok() {
                    sleep(LIMIT / 20).await;
                }
            });
            let error = Paced::new(near, LIMIT).write_all(&[0; 1000]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            slow.abort();
        });
    }

    #[test]
    fn each_answer_has_the_time_for_itself() {
        run(async {
            let (near, mut far) = duplex(10);
            let slow = tokio::spawn(async move {
                while far.read_u8().await.is_ok() {
                    sleep(LIMIT / 20).await;
                }
            });
            let mut paced = Paced::new(near, LIMIT);
            for _ in 0..4 {
                paced.write_all(&[0; 16]).await.unwrap();
                paced.flush().await.unwrap();
            }
            slow.abort();
        });
    }
}
