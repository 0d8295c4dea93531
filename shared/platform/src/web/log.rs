//! The way out of log lines: a queue with an end, and a thread of its own that writes them.
//!
//! Whoever logs never waits and never fails. A line that finds the queue full is lost, and so is one that cannot be written (nobody
//! reads the pipe any more, the disk is full): lost lines are counted, and nothing else happens.
//!
//! `tracing-appender` 0.2.4 was looked at, and does not serve. Its guard prints to the standard output when the queue is full, and
//! waits for ever there, because its thread holds that output's lock: SIGTERM would not end the process. It counts no line that could
//! not be written, its queue is bounded in lines and not in bytes, and it brings four crates.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::repeats::{self, Repeats};

/// Lines that wait to be written.
const LINES: usize = 4096;
/// Bytes of lines that wait to be written.
const BYTES: usize = 4 * 1024 * 1024;
/// How long the last ones may take when a process ends.
const LAST: Duration = Duration::from_millis(500);
/// How long to wait before an output that takes nothing now (EAGAIN) is tried again.
const PAUSE: Duration = Duration::from_millis(10);
/// How often the thread looks for what was left out.
const LOOK: Duration = Duration::from_secs(1);

static LOG: OnceLock<Log> = OnceLock::new();

/// The log of a process.
#[derive(Clone, Debug)]
pub(super) struct Log {
    queue: SyncSender<Queued>,
    /// Bytes in the queue.
    waiting: Arc<AtomicUsize>,
    dropped: Counter,
    repeats: Arc<Repeats>,
}

#[derive(Debug)]
enum Queued {
    Line(Vec<u8>),
    Flush(oneshot::Sender<()>),
}

/// Opens the log of this process, once, on the standard output. A second start in one process (a test) keeps the first.
pub(super) fn open() -> &'static Log {
    LOG.get_or_init(|| match standard_output() {
        Ok(output) => Log::onto(output),
        // It is closed: every line is lost.
        Err(_) => Log::onto(io::sink()),
    })
}

/// The log of this process, if it was opened.
pub(super) fn opened() -> Option<&'static Log> {
    LOG.get()
}

/// Puts what the log has lost and left out on the metrics page.
pub(super) fn register(registry: &mut Registry) {
    if let Some(log) = opened() {
        registry.register("coditect_log_lines_dropped", "Log lines lost because nobody took them in time", log.dropped.clone());
        registry.register("coditect_log_lines_left_out", "Log lines not written because many were like them", log.repeats.left_out());
    }
}

/// Writes what is left, if that takes no longer than half a second.
pub(super) async fn finish() {
    let Some(log) = opened() else { return };
    repeats::say(&log.repeats.take_all());
    log.flush(LAST).await;
}

/// The output itself, without the buffer and the lock that `std` keeps for it: whoever holds that lock may wait for ever.
fn standard_output() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

impl Log {
    /// A log on any output. If the system has no thread left, every line is lost.
    pub(super) fn onto(output: impl Write + Send + 'static) -> Self {
        let (queue, lines) = sync_channel(LINES);
        let log = Self { queue, waiting: Arc::default(), dropped: Counter::default(), repeats: Arc::default() };
        let (waiting, dropped, repeats) = (Arc::clone(&log.waiting), log.dropped.clone(), Arc::clone(&log.repeats));
        let told = dropped.get();
        let writer = Writer { output, lines, waiting, dropped, repeats, told, is_torn: false, is_well: true };
        let _ = thread::Builder::new().name("log".to_owned()).spawn(move || writer.run());
        log
    }

    /// What knows how often a line was written.
    pub(super) const fn repeats(&self) -> &Arc<Repeats> {
        &self.repeats
    }

    /// Has a line written, or lost. Never waits.
    pub(super) fn line(&self, line: &[u8]) {
        let waiting = self.waiting.fetch_add(line.len(), Ordering::Relaxed) + line.len();
        if waiting > BYTES || self.queue.try_send(Queued::Line(line.to_vec())).is_err() {
            self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.dropped.inc();
        }
    }

    /// Waits until what is in the queue is written, for so long at the most.
    async fn flush(&self, limit: Duration) {
        let (done, written) = oneshot::channel();
        let flush = async {
            let mut flush = Queued::Flush(done);
            while let Err(TrySendError::Full(again)) = self.queue.try_send(flush) {
                flush = again;
                sleep(PAUSE).await;
            }
            let _ = written.await;
        };
        let _ = timeout(limit, flush).await;
    }
}

/// What `tracing_subscriber` writes to: one call for each line.
impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that writes. It alone waits for whoever reads.
struct Writer<W> {
    output: W,
    lines: Receiver<Queued>,
    waiting: Arc<AtomicUsize>,
    dropped: Counter,
    repeats: Arc<Repeats>,
    /// How many lost lines the log has told of.
    told: u64,
    /// The last line was written in part.
    is_torn: bool,
    /// The last line was written.
    is_well: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let mut looked = Instant::now();
        loop {
            match self.next() {
                Ok(Queued::Line(line)) => {
                    self.is_well = self.write(&line);
                    self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                    if !self.is_well {
                        self.dropped.inc();
                    }
                }
                Ok(Queued::Flush(done)) => drop(done.send(())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look();
            }
        }
    }

    /// The next thing to do. Comes back empty-handed once a second while there is something to look at.
    fn next(&self) -> Result<Queued, RecvTimeoutError> {
        if self.repeats.is_empty() && self.told == self.dropped.get() {
            return self.lines.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        self.lines.recv_timeout(LOOK)
    }

    /// Tells of lines that were left out, and of those that were lost once lines can be written again. Goes through the queue.
    fn look(&mut self) {
        repeats::say(&self.repeats.take_due());
        let dropped = self.dropped.get();
        if self.is_well && dropped > self.told {
            tracing::warn!(lines = dropped - self.told, "log lines were lost, because nobody took them in time");
            self.told = dropped;
        }
    }

    /// Writes a line, or as much of it as goes. Answers whether that is all of it.
    fn write(&mut self, line: &[u8]) -> bool {
        // A line that was cut off stays a line of its own.
        if self.is_torn && self.write_some(b"\n") != 1 {
            return false;
        }
        let written = self.write_some(line);
        self.is_torn = (1..line.len()).contains(&written);
        written == line.len()
    }

    fn write_some(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.output.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process may have made the pipe one that does not wait.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Err(_) => break,
            }
        }
        written
    }
}

/// Prints to the standard error, for a process that is about to end. Never fails, and waits for half a second at the most.
pub fn print_error(text: &str) {
    let text = format!("{text}\n");
    let (done, printed) = sync_channel(1);
    let print = move || {
        let _ = io::stderr().write_all(text.as_bytes());
        let _ = done.send(());
    };
    if thread::Builder::new().spawn(print).is_ok() {
        let _ = printed.recv_timeout(LAST);
    }
}

#[cfg(test)]
mod tests;
